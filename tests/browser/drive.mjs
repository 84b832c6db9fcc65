// Drives Debian's Chromium through the steps of a job and reports values, failures and screenshots.
//
// Standard input: the job as a JSON object
//   width, height   of the window, in CSS pixels, which are device pixels here
//   timeout         milliseconds for the whole job
//   steps           a list of [verb, ...arguments], all strings; see `verbs`
// Standard output: the result as a JSON object
//   values          the values of `read` by name
//   failed          requests without an answer, and answers with status 400 or higher
//   console         errors and warnings of the page
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const job = JSON.parse(readFileSync(0, 'utf8'));
const saw = { values: {}, failed: [], console: [] };
// software WebGL for OpenSeadragon
const webgl = ['--use-angle=swiftshader', '--enable-unsafe-swiftshader'];
const quiet = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
// a hard limit: Chromium ends with this process
let at = -1;
setTimeout(() => give(`not done within ${job.timeout} ms`), job.timeout).unref();
function give(up) {
  console.error(`${up}\nstep ${at} of ${job.steps.length}: ${job.steps[at]}\n${JSON.stringify(saw)}`);
  process.exit(1);
}

const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: [...webgl, ...quiet] });
const page = await browser.newPage({ viewport: { width: job.width, height: job.height }, deviceScaleFactor: 1 });
page.setDefaultTimeout(job.timeout / 4);
page.on('response', answer => {
  if (answer.status() >= 400) saw.failed.push(`${answer.status()} ${answer.url()}`);
});
page.on('requestfailed', request => saw.failed.push(`${request.failure()?.errorText} ${request.url()}`));
page.on('pageerror', error => saw.console.push(String(error)));
page.on('console', message => {
  if (['error', 'warning'].includes(message.type())) saw.console.push(message.text());
});

const verbs = {
  // via about:blank, so that the page reloads even if only the fragment differs
  async open(url) {
    await page.goto('about:blank');
    await page.goto(url);
  },
  click: selector => page.click(selector),
  choose: (selector, value) => page.selectOption(selector, value),
  press: key => page.keyboard.press(key),
  wheel: async (x, y, dy) => {
    await page.mouse.move(Number(x), Number(y));
    await page.mouse.wheel(0, Number(dy));
  },
  drag: async (...places) => {
    const [x, y, toX, toY] = places.map(Number);
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(toX, toY, { steps: 4 });
    await page.mouse.up();
  },
  run: script => page.evaluate(script),
  until: script => page.waitForFunction(script),
  // waits until the page has applied the style
  style: async content => {
    await page.addStyleTag({ content });
    await page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
  },
  read: async (name, script) => { saw.values[name] = await page.evaluate(script); },
  // a screenshot of one element as PNG
  shot: async (selector, path) => {
    const { x, y, width, height } = await page.locator(selector).boundingBox();
    await page.screenshot({ path, clip: { x, y, width, height } });
  },
};
for (const [verb, ...words] of job.steps) {
  at++;
  await verbs[verb](...words).catch(error => give(error.message));
}
await browser.close();
console.log(JSON.stringify(saw));
