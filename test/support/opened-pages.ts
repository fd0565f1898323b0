import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import type { Open, Page } from './browsers.ts';
import { startService } from './service.ts';
import { startUpstream } from './upstream.ts';

/** The pages of a service with content, in a browser in which alice is signed in. */
export async function openedPages(open: Open, role = 'operator', host = '127.0.0.1') {
  const upstream = await startUpstream((_request, response) => void response.end('{}'));
  const { authority } = upstream;
  const service = await startService({
    domains: { [authority]: { grant: 'desk' }, 'example.org': 'tunnel' },
  });
  const { call, sidekey, url } = service;
  await sidekey.grant([authority], { name: 'desk' });
  const mine = await sidekey.grant([authority], { name: 'mine', user: 'alice' });
  await sidekey.grant([authority], { name: 'theirs', user: 'bob' });
  const { token } = (await call('POST /v2/agents', { body: { name: 'ci', grants: ['desk'] } })).body;
  await call('POST /v2/agents', { body: { name: 'other', grants: ['bob/theirs'] } });
  await call('POST /v2/leases', { body: { agent: 'ci', grants: ['desk'], purpose: 'nightly report' } });
  await call('POST /v2/requests', {
    body: { url: `https://${authority}/x`, grant: 'desk', agent: 'ci', reason: 'ticket 7' },
  });
  await call('POST /v2/people', { body: { name: 'alice', role } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
  const page = await open!(url.replace('127.0.0.1', host) + path);
  await page.shows('This link works once');
  await page.evaluate(`document.querySelector('button').click()`);
  await page.shows('Sign out');
  return { ...service, page, upstream, mine, agentToken: token as string, signInPath: path };
}

/** Goes to a view by its name, and resolves with its text when it shows this. */
export async function goTo(page: Page, name: string, text: string): Promise<string> {
  await page.evaluate(`void (location.hash = '${name}')`);
  return page.shows(text);
}

/** An expression that clicks the first button or summary with this label. */
export function click(label: string): string {
  return `void [...document.querySelectorAll('button, summary')].find((it) => it.textContent === ${JSON.stringify(label)}).click()`;
}

/** An expression that clicks the button of the open dialog that does what it asks about. */
export const confirm = `void document.querySelector('dialog[open] .danger').click()`;

/** An expression that fills the form with a button of this label, and sends it. */
export function submit(label: string, values: Readonly<Record<string, string>>): string {
  return `void (() => {
    const form = [...document.forms].find((it) => it.querySelector('button').textContent === ${JSON.stringify(label)});
    for (const [name, value] of Object.entries(${JSON.stringify(values)})) {
      form.elements[name].value = value;
      form.elements[name].dispatchEvent(new Event('input', { bubbles: true }));
    }
    form.requestSubmit();
  })()`;
}

/** Signs in at the sample company in a popup, and answers its question. */
export async function consentIn(page: Page, answer: 'allow' | 'deny' = 'allow'): Promise<void> {
  await page.shows('asks to use your account');
  await page.evaluate(`document.querySelector('[value=yes]').click()`);
  await page.shows('Sign in');
  await page.evaluate(`
    document.querySelector('[name=email]').value = 'alice@acme.test';
    document.querySelector('[name=password]').value = 'demo1234';
    document.querySelector('form').requestSubmit();
  `);
  await page.shows('to use your Acme account?');
  await page.evaluate(`document.querySelector('[value=${answer}]').click()`);
}
