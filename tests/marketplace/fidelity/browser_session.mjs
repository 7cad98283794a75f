// A session in Chromium: `browser_session.mjs BASE_URL`, prints one JSON document of all that a
// page was told by fetch, XMLHttpRequest, EventSource and WebSocket.

import { chromium } from 'playwright-core';

import { inPage } from './in_page.mjs';

const ARGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

const [base] = process.argv.slice(2);
if (!base?.startsWith('http://127.0.0.1:')) {
  console.error('usage: browser_session.mjs http://127.0.0.1:PORT');
  process.exit(2);
}

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ARGS,
});
try {
  console.log(JSON.stringify(await session(), null, 1));
} finally {
  await browser.close();
}

async function session() {
  const told = {};
  const page = await (await browser.newContext()).newPage();
  told.navigation = await wire(await page.goto(`${base}/page`));
  for (const part of ['fetches', 'bodies', 'ranges', 'codings', 'redirects', 'events', 'leaving', 'many', 'xhr', 'socket']) {
    told[part] = await page.evaluate(inPage, part);
  }
  told.headers = await wire(await page.goto(`${base}/headers`));
  told.cookies = (await page.context().cookies()).map(({ name, value, httpOnly, sameSite }) => ({ name, value, httpOnly, sameSite }));
  told.download = await downloaded(page);
  told.connections = await connections();
  told.foreign = await foreign();
  return told;
}

// A response as it came over the wire.
async function wire(response) {
  return { status: response.status(), text: response.statusText(), headers: (await response.headersArray()).map(({ name, value }) => [name, value]) };
}

// What the browser saves, and under which name.
async function downloaded(page) {
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.goto(`${base}/file`).catch(() => 'a download is no page'),
  ]);
  let size = 0;
  for await (const piece of await download.createReadStream()) size += piece.length;
  return { name: download.suggestedFilename(), size, failure: await download.failure() };
}

// How many connections ten requests in turn take.
async function connections() {
  const context = await browser.newContext();
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  const seen = new Set();
  cdp.on('Network.responseReceived', ({ response }) => seen.add(response.connectionId));
  await cdp.send('Network.enable');
  await page.goto(`${base}/page`);
  await page.evaluate(async () => {
    for (let n = 0; n < 10; n += 1) await (await fetch(`/echo?${n}`, { method: 'POST', body: 'x' })).text();
  });
  await context.close();
  return seen.size;
}

// A page of another origin: what the API's CORS headers allow it, and no more.
async function foreign() {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${base.replace('127.0.0.1', 'localhost')}/page`);
  return page.evaluate(async (base) => {
    const attempt = async (path, options) => {
      try {
        const response = await fetch(base + path, options);
        const told = { type: response.type, status: response.status, headers: [...response.headers] };
        return { ...told, body: response.type === 'opaque' ? null : await response.text() };
      } catch (error) {
        return { error: error.message };
      }
    };
    return {
      simple: await attempt('/shared'),
      preflighted: await attempt('/shared', { headers: { 'X-Own': 'mine' } }),
      'a header that is not allowed': await attempt('/shared', { headers: { 'X-Other': 'mine' } }),
      'a method that is not allowed': await attempt('/shared', { method: 'DELETE' }),
      'without CORS': await attempt('/echo'),
      opaque: await attempt('/echo', { mode: 'no-cors' }),
    };
  }, base);
}
