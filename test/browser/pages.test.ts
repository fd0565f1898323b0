import { spawn } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { makeSignInLink } from '../../src/api/web-session.ts';
import { browserProgram, findChromium, type BrowserPage } from '../support/chromium.ts';
import { curl } from '../support/curl.ts';
import { examined } from '../support/examined.ts';
import { startService } from '../support/service.ts';
import { startUpstream } from '../support/upstream.ts';

const chromium = await findChromium();
const why = chromium === null ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : '';

/** A service with content, and a browser in which a person is signed in. */
async function opened(role = 'operator', host = '127.0.0.1') {
  const upstream = await startUpstream((_request, response) => void response.end('{}'));
  const service = await startService({
    domains: { [upstream.authority]: { grant: 'desk' }, 'example.org': 'tunnel' },
  });
  const { call, sidekey, url } = service;
  await sidekey.grant([upstream.authority], { name: 'desk' });
  await sidekey.grant([upstream.authority], { name: 'mine', user: 'alice' });
  await sidekey.grant([upstream.authority], { name: 'theirs', user: 'bob' });
  await call('POST /v2/agents', { body: { name: 'ci', grants: ['desk'] } });
  await call('POST /v2/leases', { body: { agent: 'ci', grants: ['desk'], purpose: 'nightly report' } });
  await call('POST /v2/requests', {
    body: { url: `https://${upstream.authority}/x`, grant: 'desk', reason: 'ticket 7' },
  });
  await call('POST /v2/people', { body: { name: 'alice', role } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
  const browser = await browserProgram(chromium ?? '', ['localhost']);
  spawn(browser.program, [url.replace('127.0.0.1', host) + path], { stdio: 'ignore' });
  const page = await browser.page();
  await page.shows('This link works once');
  await page.evaluate(`document.querySelector('button').click()`);
  await page.shows('Sign out');
  return { ...service, page, upstream };
}

async function goTo(page: BrowserPage, name: string, text: string): Promise<void> {
  await page.evaluate(`location.hash = '${name}'`);
  await page.shows(text);
}

describe.skipIf(chromium === null)(`the pages of the operator, in a real browser${why}`, () => {
  test('show each view, which fits 360 pixels and is accessible', { timeout: 120_000 }, async () => {
    const { page, url } = await opened();
    for (const [name, text] of [
      ['overview', 'Token refreshes'],
      ['grants', 'theirs'],
      ['approvals', 'No approval is in force.'],
      ['access', 'Who may use what'],
      ['domains', 'What would happen to a request?'],
      ['audit', 'agent.added'],
      ['people', 'API keys'],
    ] as const) {
      await goTo(page, name, text);
      await examined(page, name);
    }
    expect(page.complaints.filter((each) => each.includes('Content Security Policy'))).toEqual([]);
    expect(await page.evaluate('document.cookie')).toBe('');
    await page.evaluate(
      `[...document.querySelectorAll('button')].find((it) => it.textContent === 'Sign out').click()`,
    );
    await page.shows('Sign in to Sidekey');
    await examined(page, 'signed-out');
    expect(await page.address()).toBe(`${url}/`);
  });

  test('sign in with a passkey that was added', { timeout: 60_000 }, async () => {
    const { page, sidekey } = await opened('user', 'localhost');
    await page.authenticator();
    await goTo(page, 'passkeys', 'You have no passkeys yet.');
    const add = (label: string) =>
      page.evaluate(`(() => {
        const form = [...document.forms].find((it) => it.elements.label);
        form.elements.label.value = '${label}';
        form.requestSubmit();
      })()`);
    await add('laptop');
    await page.shows('laptop');
    await add('again');
    await page.shows('This device has a passkey of yours already.');
    await examined(page, 'passkeys');
    await page.evaluate(click('Sign out'));
    await page.shows('Sign in to Sidekey');
    await page.evaluate(click('Sign in with a passkey'));
    await page.shows('Sign out');
    await goTo(page, 'passkeys', 'laptop');
    expect((await sidekey.audit()).findLast(({ event }) => event === 'person.signed_in')).toMatchObject({
      by: 'alice',
      reason: 'by a passkey',
    });
    await page.evaluate(click('Remove'));
    await page.evaluate(`document.querySelector('dialog[open] .danger').click()`);
    await page.shows('You have no passkeys yet.');
    await page.evaluate(click('Sign out'));
    await page.shows('Sign in to Sidekey');
    await page.evaluate(click('Sign in with a passkey'));
    await page.shows('This passkey signs nobody in here.');
  });

  test('change the map after the difference was shown', { timeout: 60_000 }, async () => {
    const { page, call } = await opened();
    await goTo(page, 'domains', 'Change the map');
    await page.evaluate(`(() => {
      const form = [...document.forms].find((it) => it.elements.host);
      form.elements.host.value = 'api.example.com';
      form.elements.action.value = 'tunnel';
      form.requestSubmit();
    })()`);

    const text = await page.shows('This would change');
    expect(text).toContain('+   api.example.com: tunnel');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(2);
    await examined(page, 'domains-change');
    await page.evaluate(click('Write it'));
    await page.shows('api.example.com\ttunnel');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(3);
    await page.evaluate(`(() => {
      const form = [...document.forms].find((it) => it.elements.url);
      form.elements.url.value = 'https://other.example.com/';
      form.requestSubmit();
    })()`);
    await page.shows('sidekey domain tunnel');
  });

  test('answer a request that waits', { timeout: 60_000 }, async () => {
    const { page, call, sidekey, upstream } = await opened();
    const config = (await call('GET /v2/config')).body.text as string;
    const ruled = config.replace(/grant: desk/, 'grant: desk\n    default: approve');
    const tag = (await call('GET /v2/config')).headers.get('etag') ?? '';
    expect(
      (await call('PUT /v2/config', { body: { text: ruled }, headers: { 'if-match': tag } })).status,
    ).toBe(200);
    await goTo(page, 'approvals', 'No request waits.');
    const sent = call('POST /v2/requests', {
      body: { url: `https://${upstream.authority}/y`, grant: 'desk', reason: '<img src=x onerror=alert(1)>' },
    });
    const text = await page.shows('Yes, once');
    expect(text).toContain('<img src=x onerror=alert(1)>');
    await examined(page, 'approvals-waiting');
    await page.evaluate(click('Yes, once'));
    expect((await sent).body.status).toBe(200);
    await page.shows('No request waits.');
    expect((await sidekey.audit()).find(({ event }) => event === 'approval.allowed')?.reason).toContain(
      'alice',
    );
    expect(await page.evaluate('document.images.length')).toBe(0);
  });

  test('answer proposals, with the difference of the config file', { timeout: 60_000 }, async () => {
    const { page, call, sidekey } = await opened();
    await goTo(page, 'approvals', 'No request waits.');
    const reason = '<img src=x onerror=alert(1)>';
    const own = 'http://sidekey.internal/proposals';
    const propose = (proposal: object) =>
      curl('-x', sidekey.url, '--json', JSON.stringify({ ...proposal, reason }), own);
    expect((await propose({ domain: { host: 'api.example.net', action: 'tunnel' } })).status).toBe(202);
    expect((await propose({ grant: { provider: 'github', scopes: ['repo'] } })).status).toBe(202);

    await page.shows('a grant of github');
    const text = await page.shows('the domain api.example.net');
    expect(text).toContain(reason);
    expect(text).toContain('+  api.example.net: tunnel');
    expect(text).toContain('sidekey connect github');
    await examined(page, 'proposals');
    expect(await page.evaluate('document.images.length')).toBe(0);
    await page.evaluate(click('Yes, for good'));
    await page.lacks('the domain api.example.net');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(3);
    await page.evaluate(click('No'));
    await page.shows('No request waits.');
    expect((await sidekey.audit()).map(({ event, reason: by }) => `${event} ${by}`)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^proposal\.accepted .*api\.example\.net.*alice/),
        expect.stringMatching(/^proposal\.declined .*github.*alice/),
      ]),
    );
  });
});

describe.skipIf(chromium === null)(`the pages of a user, in a real browser${why}`, () => {
  test('show own accounts and their uses, and end one', { timeout: 60_000 }, async () => {
    const { page, call } = await opened('user');
    const text = await page.shows('mine');
    expect(text).toContain('Your accounts');
    expect(text).not.toContain('theirs');
    expect(text).not.toContain('Overview');
    await page.evaluate(`document.querySelector('td a').click()`);
    await page.shows('Who used it, when, for what');
    await examined(page, 'wallet');
    await page.evaluate(click('End it here and at the service'));
    await page.evaluate(`document.querySelector('dialog[open] button.danger').click()`);
    await page.shows('revoked');
    expect((await call('GET /v2/grants/mine')).body.state).toBe('revoked');
    expect((await call('GET /v2/grants/theirs')).body.state).toBe('active');
  });
});

/** An expression that clicks the first button with this label. */
function click(label: string): string {
  return `[...document.querySelectorAll('button')].find((it) => it.textContent === ${JSON.stringify(label)}).click()`;
}
