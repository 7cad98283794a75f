// A person at the page, in Chromium: `page_session.mjs PAGE_URL`, prints one JSON document of what
// they see of the newest purchase, and of a range that they choose while the page is paused.

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
  const wide = await visit(1280);
  const narrow = await visit(390);
  console.log(JSON.stringify({ wide, narrow }));
} finally {
  await browser.close();
}

async function visit(width) {
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  page.setDefaultTimeout(120_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (line) => line.type() === 'error' && complaints.push(line.text()));
  await page.goto(url);
  await page.getByRole('button', { name: /^Tree of POST .*\/buy$/ }).first().click();
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
