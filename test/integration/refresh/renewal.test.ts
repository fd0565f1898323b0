import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Credential, Renewal } from '../../../src/domain/credential.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const exchange: Renewal = {
  kind: 'token_exchange',
  subjectToken: { reference: 'file:subject' },
  subjectTokenType: 'urn:ietf:params:oauth:token-type:jwt',
  actorToken: null,
  actorTokenType: null,
  requestedTokenType: null,
  scope: null,
  parameters: {},
};

/**
 * One host with a token endpoint and an API that takes only the last token; and a proxy with a grant for it.
 */
async function setUp(renewal: Renewal) {
  const forms: Record<string, string>[] = [];
  const tokens: string[] = [];
  let accepted = '';
  let passed = 0;
  const upstream = await startUpstream((request, response) => {
    if (request.url === '/token') {
      void requestBody(request).then((body) => {
        forms.push(Object.fromEntries(new URLSearchParams(body)));
        accepted = `access-${forms.length}`;
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ access_token: accepted, expires_in: 3600 }));
      });
      return;
    }
    const token = request.headers.authorization?.replace('Bearer ', '') ?? 'none';
    tokens.push(token);
    response.writeHead(token === accepted ? 200 : 401, { 'content-length': 0 }).end();
  });
  const sidekey = await startSidekey({
    now: () => Date.now() + passed,
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: {
      providers: {
        acme: {
          token_endpoint: `${upstream.url}/token`,
          client_id: 'robot',
          client_secret: 'file:client-secret',
          client_auth: 'post',
          audience: [upstream.authority],
        },
      },
    },
  });
  const secretFile = async (name: string, value: string) =>
    writeFile(join(sidekey.folder, name), `${value}\n`, { mode: 0o600 });
  await secretFile('client-secret', 's3cret-of-the-robot');
  const credential: Credential = oauth2Credential({ renewal });
  const grant = await sidekey.grant([upstream.authority], { credential });
  const client = await openTunnel(sidekey, upstream.authority);
  return {
    forms,
    tokens,
    sidekey,
    grant,
    secretFile,
    /** Takes none of the tokens any more that were issued so far. */
    forget: () => (accepted = ''),
    /** Lets time pass: a refresh is not forced right after another. */
    later: (ms: number) => (passed += ms),
    get: async () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return (await client.response()).status;
    },
  };
}

describe('a grant without a refresh token', () => {
  test('gets its token on the first request, with its client credentials', async () => {
    const at = await setUp({
      kind: 'client_credentials',
      scope: 'read',
      parameters: { audience: 'https://api.acme.test' },
    });
    expect(await at.get()).toBe(200);
    expect(await at.get()).toBe(200);
    expect(at.forms).toEqual([
      {
        grant_type: 'client_credentials',
        client_id: 'robot',
        client_secret: 's3cret-of-the-robot',
        scope: 'read',
        audience: 'https://api.acme.test',
      },
    ]);
    expect(at.tokens).toEqual(['access-1', 'access-1']);
    expect(await at.sidekey.audited(({ event }) => event === 'grant.refreshed')).toMatchObject({
      grant: at.grant.id,
    });
  });

  test('is refused while there is nothing to exchange, but stays active', async () => {
    const at = await setUp(exchange);
    expect(await at.get()).toBe(502);
    expect(at.forms).toEqual([]);
    expect((await at.sidekey.proxy.state.grants.read(at.grant.id))?.grant.state).toBe('active');
  });

  test('reads its reference again after a 401, relative to the config file', async () => {
    const at = await setUp(exchange);
    await at.secretFile('subject', 'subject-1');
    expect(await at.get()).toBe(200);
    expect(at.forms).toMatchObject([{ subject_token: 'subject-1' }]);
    await at.secretFile('subject', 'subject-2');
    at.forget();
    at.later(11_000);
    expect(await at.get()).toBe(200);
    expect(at.tokens).toEqual(['access-1', 'access-1', 'access-2']);
    expect(at.forms).toMatchObject([{ subject_token: 'subject-1' }, { subject_token: 'subject-2' }]);
  });
});
