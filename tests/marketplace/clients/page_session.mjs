// A person at the page, in Chromium: `page_session.mjs PAGE_URL`, prints one JSON document of what
// they see of the newest purchase, and of a range that they choose while the page is paused. Before
// that, of a page whose first look at the numbers fails.

import { chromium } from 'playwright-core';

const [url] = process.argv.slice(2);
if (!url?.startsWith('http://127.0.0.1:')) {
  console.error('usage: page_session.mjs http://127.0.0.1:PORT');
  process.exit(2);
}

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
try {
  await visitThatFailsAtFirst();
  const wide = await visit(1280);
  const narrow = await visit(390);
  console.log(JSON.stringify({ wide, narrow }));
} finally {
  await browser.close();
}

function newestPurchase(page) {
  return page.getByRole('button', { name: /^Tree of POST .*\/buy$/ }).first();
}

// The lists come all the same, and a row that stays is not drawn anew.
async function visitThatFailsAtFirst() {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  let failed = false;
  const follows = new Promise((resolve) => page.on('websocket', (socket) => socket.once('framereceived', resolve)));
  await page.route('**/rpc', async (route) => {
    if (failed || page.isClosed() || !route.request().postData()?.includes('dappscope_routes')) return route.continue();
    // Not before the page follows what happens.
    await follows;
    failed = true;
    return route.abort();
  });
  await page.goto(url);
  const button = await newestPurchase(page).elementHandle();
  await page.waitForResponse((response) => response.request().postData()?.includes('dappscope_overview'));
  await page.waitForResponse((response) => response.request().postData()?.includes('dappscope_overview'));
  if (!await button.evaluate((node) => node.isConnected)) throw new Error('the row of the purchase was drawn anew');
  await page.close();
}

async function visit(width) {
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  page.setDefaultTimeout(120_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (line) => line.type() === 'error' && complaints.push(line.text()));
  await page.goto(url);
  await newestPurchase(page).click();
  await page.locator('#trace-rows', { hasText: 'transaction' }).waitFor();
  await page.locator('#trace-summary', { hasText: 'gas' }).waitFor();
  const rows = await page.locator('#trace-rows tr').evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.innerText.replaceAll('\n', ' ').trim())));
  const summary = await page.locator('#trace-summary').innerText();
  // How long each took is within the dialog, and no name is broken letter by letter.
  const fits = await page.locator('#trace').evaluate((dialog) => [...dialog.querySelectorAll('#trace-rows tr')].every((row) =>
    row.cells[2].getBoundingClientRect().right <= dialog.getBoundingClientRect().right && row.cells[0].getBoundingClientRect().height < 100));
  await page.getByRole('button', { name: 'Close' }).click();
  const inside = await page.locator('#inside tr').evaluateAll((all) => all.map((row) => row.cells[0].innerText));
  await page.getByRole('button', { name: 'Pause' }).click();
  // What is under way when it is paused is not asked for the new range.
  const asked = page.waitForRequest((request) => (request.postData() ?? '').includes('"last":"5m"'), { timeout: 120_000 });
  await page.getByLabel('Range').selectOption('5m');
  await asked;
  await page.close();
  return { rows, summary, fits, inside, complaints };
}
