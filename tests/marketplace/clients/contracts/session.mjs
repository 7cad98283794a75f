// Everything a contract's author may meet, on whatever node is there: a session in three parts that
// prints what it did and what dappscope has to tell of it, as one JSON document.
//
//   node session.mjs before DIRECT_URL            deploys contracts while nobody watches
//   node session.mjs during DIRECT_URL RELAY_URL CARRIED API_URL
//   node session.mjs after  DIRECT_URL RELAY_URL CARRIED API_URL    after the node was restarted
//
// CARRIED is the member `carried` of the document before, API_URL that of dappscope's own API.

import { Book } from "./expected.mjs";
import { Node, USER_AGENT } from "./node.mjs";
import { after, before } from "./restart.mjs";
import { blocks, confirmations, drops, replacements, setback } from "./mining.mjs";
import { failures, refusals } from "./failures.mjs";
import { market } from "./market.mjs";
import { bursts, early, multicalls, reads, repetitions } from "./reads.mjs";
import { clones, proxies, strangers } from "./proxies.mjs";

async function during(book, carried) {
  const first = await book.node.head();
  await early(book, carried);
  const dapp = await market(book);
  await failures(book, dapp);
  await refusals(book, dapp);
  await proxies(book);
  await clones(book);
  await strangers(book);
  await multicalls(book, dapp);
  await reads(book, dapp);
  await repetitions(book, dapp);
  await bursts(book, dapp);
  await setback(book, dapp);
  await replacements(book, dapp);
  await drops(book);
  const confirmed = await confirmations(book, dapp);
  const mined = await blocks(book, first + 1);
  return { confirmed, blocks: mined, carried: { ahead: await book.node.nonce(book.node.accounts[0]) } };
}

const PARTS = { before, during, after };

async function main() {
  const [part, direct, relay, carried, api] = process.argv.slice(2);
  if (!PARTS[part] || !direct) throw new Error("usage: session.mjs before|during|after DIRECT_URL [RELAY_URL CARRIED API_URL]");
  const node = await new Node(direct, relay, api).meet();
  const book = new Book(node);
  const outcome = await PARTS[part](book, JSON.parse(carried ?? "{}"));
  const { transactions, calls, findings, states } = book;
  const document = {
    node: node.kind,
    client: node.client,
    user_agent: USER_AGENT,
    pid: process.pid,
    transactions,
    calls,
    findings,
    states,
    ...outcome,
  };
  console.log(JSON.stringify(document, null, 1));
}

main().catch((error) => {
  console.error(`session failed: ${error.stack ?? error}`);
  for (let { cause } = error; cause; { cause } = cause) console.error(`because of: ${cause.stack ?? cause}`);
  process.exit(1);
});
