import { appendFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { acmeHome } from '../../support/connect-home.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const scopes = ['openid', 'email', 'profile'];

/** Connects accounts at the sample company, whose userinfo endpoint may be another. */
async function connecting(userinfo?: string) {
  const at = await acmeHome({
    provider: (issuer) => ({ scopes, userinfo_endpoint: userinfo ?? `${issuer}/userinfo` }),
    config: {
      upstream: {
        ca: ['helpdesk-ca.pem'],
        resolve: { 'helpdesk.acme.test': '127.0.0.1', [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
    },
  });
  await appendFile(at.at('config', 'helpdesk-ca.pem'), upstreamCa);
  async function connect(name: string, user = name) {
    const begun = await at.json(['connect', 'acme', '--print-url', '--name', name, '--no-domains']);
    const { consent_url: url } = begun as { consent_url: string };
    const back = await at.consent(url, { user: `${user}@acme.test`, password: 'demo1234' });
    return at.json(['connect', '--finish', back.href]);
  }
  return { at, connect };
}

describe('the account of a consent', () => {
  test('is named by the e-mail address from the userinfo endpoint, per grant', async () => {
    const { at, connect } = await connecting();
    await connect('alice');
    await connect('bob');
    expect(await at.json(['grant', 'list'])).toMatchObject([
      { name: 'alice', account: 'alice@acme.test' },
      { name: 'bob', account: 'bob@acme.test' },
    ]);
    const { stdout } = await at.run(['grant', 'list']);
    expect(stdout).toMatch(/^NAME +PROVIDER +USER +ACCOUNT /m);
    expect(stdout).toContain('bob@acme.test');
    expect(await at.json(['grant', 'show', 'alice'])).toMatchObject({
      account: 'alice@acme.test',
      account_details: { name: 'Alice Adams', email: 'alice@acme.test', sub: 'alice' },
    });
    expect((await at.run(['grant', 'show', 'alice'])).stdout).toContain('name Alice Adams');
    const { stdout: log } = await at.run(['audit', 'query', '--event', 'access', '--json']);
    const lines = log
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { reason: string });
    expect(lines.filter(({ reason }) => reason === 'account')).toMatchObject([
      { path: '/userinfo', outcome: 'allow' },
      { path: '/userinfo', outcome: 'allow' },
    ]);
  });

  test.each([
    ['another subject', 200, JSON.stringify({ sub: 'mallory', email: 'ceo@acme.test' }), 'another subject'],
    ['a failure', 500, '', 'HTTP 500'],
    ['no JSON', 200, '<html>', 'no JSON object'],
    ['an endless answer', 200, `{"a":"${'x'.repeat(1_100_000)}"}`, 'larger than 1 MiB'],
  ])(
    'with %s from the userinfo endpoint is named by the ID token, with a note',
    async (_, status, body, note) => {
      const upstream = await startUpstream((_request, response) => void response.writeHead(status).end(body));
      const { at, connect } = await connecting(`${upstream.url}/me`);
      expect(await connect('alice')).toMatchObject({
        account: 'alice',
        account_details: { sub: 'alice' },
        warnings: [expect.stringContaining(note)],
      });
      expect(await at.json(['grant', 'list'])).toMatchObject([{ account: 'alice' }]);
    },
  );
});
