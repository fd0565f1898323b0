import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { browsers, type Open, type Page } from '../support/browsers.ts';
import { curl } from '../support/curl.ts';
import { oauth2Credential } from '../support/oauth2-credential.ts';
import { click, goTo, openedPages, submit } from '../support/opened-pages.ts';
import { allGrants } from '../support/all-grants.ts';

/** Views with a text that each shows. */
const views = {
  connect: 'Any API with a key',
  'connect/resend': 'Good to know',
  approvals: 'Yes, once',
  now: 'Token refreshes',
  agents: 'no token, on this machine',
  'agents/ci': 'What it may use',
  rules: 'What would happen to a request?',
  audit: 'Verify the log',
  people: 'Link to sign in',
  passkeys: 'Add a passkey',
  accounts: 'Last use',
};

const payload = '<img src=x onerror="globalThis.ran=1"><svg onload="globalThis.ran=1">';

/**
 * Runs code on the text of each answer of the API that the page gets from now on, before the page reads it.
 */
async function onAnswers(page: Page, code: string): Promise<void> {
  await page.evaluate(`void (() => {
    const fetched = globalThis.fetch;
    globalThis.fetch = async (path, ...more) => {
      const answer = await fetched(path.replaceAll(${JSON.stringify(encodeURIComponent(payload))}, ''), ...more);
      if (answer.headers.get('content-type') === 'text/event-stream') {
        let rest = '';
        const events = new TransformStream({
          transform(part, to) {
            const events = (rest + part).split('\\n\\n');
            rest = events.pop();
            for (const event of events) {
              let [head, text = ''] = event.split('\\ndata: ');
              ${code}
              to.enqueue(head + '\\ndata: ' + text + '\\n\\n');
            }
          },
        });
        const body = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(events);
        return new Response(body.pipeThrough(new TextEncoderStream()), answer);
      }
      let text = await answer.text();
      ${code}
      return new Response([204, 304].includes(answer.status) ? null : text, answer);
    };
  })()`);
}

/** The pages with a grant, a request that waits and a proposal, whose names an agent and a provider chose. */
async function opened(open: Open) {
  const at = await openedPages(open);
  const { call, sidekey, upstream } = at;
  const grant = await sidekey.proxy.state.grants.add(
    { name: 'oauth', user: 'default', provider: 'acme', scopes: [payload.replaceAll(' ', '/'), 'read'] },
    {
      credential: oauth2Credential({
        accessToken: 'access-token-secret',
        refreshToken: 'refresh-token-secret',
      }),
      audience: [upstream.authority],
      details: { email: payload, name: payload, picture: 'javascript:globalThis.ran=1' },
    },
  );
  await call('POST /v2/leases', { body: { agent: 'ci', grants: ['desk'], purpose: payload } });
  await call('POST /v2/requests', {
    body: { url: `https://${upstream.authority}/${payload}`, grant: 'desk', reason: payload },
  });
  const proposal = { domain: { host: 'api.example.net', action: 'tunnel' }, reason: payload };
  await curl('-x', sidekey.url, '--json', JSON.stringify(proposal), 'http://sidekey.internal/proposals');
  const config = await call('GET /v2/config');
  const text = (config.body.text as string).replace(/grant: desk/, 'grant: desk\n    default: approve');
  const match = { 'if-match': config.headers.get('etag') ?? '' };
  expect((await call('PUT /v2/config', { body: { text }, headers: match })).status).toBe(200);
  const waiting = call('POST /v2/requests', {
    body: { url: `https://${upstream.authority}/y`, grant: 'desk', reason: payload },
  });
  return { ...at, grant, waiting };
}

describe.each(browsers)(
  'the API responses that the pages display, in %s%s',
  { timeout: 60_000 },
  (_name, _why, open) => {
    const test = it.skipIf(open === null);

    test('are shown as text if their names contain markup', async () => {
      const { page, grant } = await opened(open);
      // Members that are words of Sidekey or ids; agents and providers choose none of them.
      await onAnswers(
        page,
        `const own = /^(id|next_cursor|state|action|status|kind|event|agents)$/;
       const spoil = (name, value) => typeof value === 'string' && !own.test(name) && !/^\\d{4}-\\d\\d-/.test(value)
         ? value + ${JSON.stringify(payload)} : value;
       if (text.startsWith('{')) text = JSON.stringify(JSON.parse(text, spoil));`,
      );
      for (const [name, text] of Object.entries({
        ...views,
        [`accounts/${grant.id}`]: 'Keep only these scopes',
      })) {
        await goTo(page, name, text);
        if (name !== 'passkeys') await page.shows(payload);
        const found = await page.evaluate(
          `[document.querySelectorAll('img, script:not([src]), iframe, [onerror], [onload]').length, globalThis.ran ?? null]`,
        );
        expect(found, name).toEqual([0, null]);
      }
      const refused = page.complaints.filter((each) => /Content.Security.Policy(?!.*favicon)/i.test(each));
      expect(refused).toEqual([]);
    });

    test('contain no key that was pasted, or found on the machine', async () => {
      const { page, sidekey } = await openedPages(open);
      const [found, pasted] = ['re_key-of-the-machine-0123456789', 'phx_key-that-was-pasted-0123456789'];
      await writeFile(join(sidekey.folder, '.env'), `RESEND_API_KEY=${found}\n`);
      await page.evaluate('void (globalThis.answers = [])');
      await onAnswers(page, 'answers.push(text);');
      await goTo(page, 'connect', 'RESEND_API_KEY in');
      await goTo(page, 'connect/resend', 'Use this key');
      await page.evaluate(click('Use this key'));
      await page.shows('Resend is connected');
      await goTo(page, 'connect/posthog', 'Verify and store');
      await page.evaluate(submit('Verify and store', { token: pasted }));
      await page.shows('PostHog is connected');
      const answers = (await page.evaluate('answers')) as readonly string[];
      expect(answers.length).toBeGreaterThan(6);
      for (const key of [found, pasted]) expect(answers.filter((each) => each.includes(key))).toEqual([]);
    });

    test('contain no secret of the store, the CA or the master key', async () => {
      const { page, sidekey, grant, key, agentToken, signInPath } = await opened(open);
      const apiKey = await key();
      await page.evaluate('void (globalThis.answers = [])');
      await onAnswers(page, 'answers.push(text);');
      for (const [name, text] of Object.entries({
        ...views,
        'rules/example.org': 'Remove this entry',
        [`accounts/${grant.id}`]: 'Keep only these scopes',
      })) {
        await goTo(page, name, text);
      }
      await page.evaluate(`void fetch('/v2/me')`);
      const { state } = sidekey.proxy;
      const kept = await Promise.all((await allGrants(state.store)).map(({ id }) => state.grants.read(id)));
      const [tokens, leases] = [await state.store.agentTokens.list(), await state.store.leases.find()];
      const hashes = [...tokens, ...leases, ...(await state.store.apiKeys.list())].map((each) =>
        'hash' in each ? each.hash : each.tokenHash,
      );
      const files = (await readdir(sidekey.folder, { recursive: true })).filter((each) =>
        each.endsWith('.key'),
      );
      const keys = await Promise.all(files.map((each) => readFile(join(sidekey.folder, each), 'utf8')));
      const secrets = [
        ...kept
          .flatMap((each) => Object.values(each!.sealed.credential))
          .filter((each) => typeof each === 'string'),
        ...hashes.flatMap((each) => [
          Buffer.from(each).toString('hex'),
          Buffer.from(each).toString('base64url'),
        ]),
        ...keys.flatMap((each) => each.split('\n')),
        apiKey,
        agentToken,
        signInPath.replace(/.*\//, ''),
      ].filter((each) => each.length >= 16 && !each.startsWith('-----'));
      expect(secrets.length).toBeGreaterThan(20);
      const answers = (await page.evaluate('answers')) as readonly string[];
      expect(answers.length).toBeGreaterThan(20);
      for (const secret of secrets) expect(answers.filter((each) => each.includes(secret))).toEqual([]);
    });
  },
);
