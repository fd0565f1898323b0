// A browser as tests drive it. It is told of the proxy, as playwright asks for it, by what the environment
// says.
import { chromium } from 'playwright-core';
const [url, executablePath] = process.argv.slice(2);
const proxy = new URL(process.env.HTTPS_PROXY);
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
  proxy: { server: proxy.origin, username: proxy.username, password: decodeURIComponent(proxy.password) },
});
const context = await browser.newContext({ ignoreHTTPSErrors: process.env.TRUSTS_ANY === '1' });
const page = await context.newPage();
// The upstream takes its time; the test has a limit of its own.
await page.goto(url, { timeout: 0 });
console.log(await page.evaluate('document.body.innerText'));
await browser.close();
