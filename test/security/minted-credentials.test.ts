/**
 * The answer to a request that hands out a credential reaches the client without it, whatever the service
 * sends, and the credential becomes a grant that only its caller may use.
 */
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { AuditLine } from '../../src/domain/event.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { grantedTo } from '../support/granted.ts';
import { ask, openSession } from '../support/h2-client.ts';
import { expectNothingOf, mintedSecret as secret, seenBy, startMinting } from '../support/minting.ts';
import { requestBody } from '../support/request-body.ts';
import { startH2Upstream, startUpstream } from '../support/upstream.ts';

const row = { name: 'session', path: '/token', member: 'token', expires_member: 'expires_at', keep: ['sku'] };
const answer = { token: secret, expires_at: '2999-01-01T00:00:00Z', sku: 'free', other: 'x', n: 1 };

const asJson = (value: unknown) => Buffer.from(JSON.stringify(value));

describe('the answer', () => {
  test('has a placeholder, and only members of the allow-list', async () => {
    const { get, asked } = await startMinting([row], (request, response) => {
      if (request.url === '/use') response.end('done');
      else
        response.setHeader('Set-Cookie', `a=${secret}`).setHeader('ETag', secret).end(JSON.stringify(answer));
    });
    const seen = await get('/token');
    expect(seen.status).toBe(200);
    const { token, ...rest } = JSON.parse(seen.body) as Record<string, unknown>;
    expect(token).toMatch(/^sidekey[A-Za-z0-9]{12}/);
    expect(rest).toEqual({ expires_at: answer.expires_at, sku: 'free', n: 1 });
    expect(seen.headers['cache-control']).toBe('no-store');
    expectNothingOf(seen.all);
    // The placeholder is replaced by the credential.
    const used = await get('/use', { headers: { authorization: `Bearer ${String(token)}` } });
    expect(asked.at(-1)!.headers.authorization).toBe(`Bearer ${secret}`);
    expectNothingOf(used.all);
    // Without it, the grant of the host is used.
    await get('/use');
    expect(asked.at(-1)!.headers.authorization).toBe(`Bearer ${bearerToken}`);
  });
});

type Respond = Parameters<typeof startMinting>[1];

/** Responses that a program could read the credential from in one way or another. */
const mutations: Readonly<Record<string, Respond>> = {
  'a duplicate name': (_, response) => response.end(`{"token":"placeholder-x","token":"${secret}"}`),
  'a duplicate name in another object': (_, response) =>
    response.end(`{"sku":{"a":1,"a":"${secret}"},"token":"${secret}"}`),
  'a name in another case': (_, response) => response.end(`{"Token":"${secret}"}`),
  'a name with an escape': (_, response) => response.end(`{"t\\u006fken":"${secret}"}`),
  'a value with escapes': (_, response) =>
    response.end(
      `{"token":"${Array.from(secret, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')}"}`,
    ),
  'the credential in a kept member': (_, response) =>
    response.end(JSON.stringify({ token: secret, sku: `free ${secret}` })),
  'the credential in Base64 in a kept member': (_, response) =>
    response.end(JSON.stringify({ token: secret, sku: Buffer.from(`a${secret}`).toString('base64') })),
  'the credential in hex in a kept member': (_, response) =>
    response.end(JSON.stringify({ token: secret, sku: { deep: [Buffer.from(secret).toString('hex')] } })),
  'the credential as a name': (_, response) =>
    response.end(JSON.stringify({ token: secret, sku: { [secret]: 1 } })),
  'the credential in another member': (_, response) =>
    response.end(JSON.stringify({ token: secret, refresh: secret, nested: { token: secret } })),
  'the credential in a list': (_, response) =>
    response.end(JSON.stringify([{ token: secret }, { token: [secret] }])),
  'an object in the place of the credential': (_, response) =>
    response.end(JSON.stringify({ token: { value: secret } })),
  'a list in the place of the credential': (_, response) => response.end(JSON.stringify({ token: [secret] })),
  'a line break in the credential': (_, response) => response.end(JSON.stringify({ token: `${secret}\n` })),
  'a byte order mark': (_, response) => response.end(`\uFEFF${JSON.stringify(answer)}`),
  'UTF-16': (_, response) => response.end(Buffer.from(JSON.stringify(answer), 'utf16le')),
  'invalid UTF-8': (_, response) => response.end(Buffer.concat([asJson(answer), Buffer.from([0xff])])),
  'two values': (_, response) => response.end(`${JSON.stringify(answer)}${JSON.stringify(answer)}`),
  'text after the value': (_, response) => response.end(`${JSON.stringify(answer)} ${secret}`),
  'a comment': (_, response) => response.end(`{"token":"x" /* ${secret} */}`),
  'no JSON': (_, response) => response.setHeader('Content-Type', 'text/html').end(`<b>${secret}</b>`),
  'a form': (_, response) => response.end(`token=${secret}`),
  events: (_, response) =>
    response.setHeader('Content-Type', 'text/event-stream').end(`data: ${JSON.stringify(answer)}\n\n`),
  'another type': (_, response) =>
    response.setHeader('Content-Type', 'image/png').end(JSON.stringify(answer)),
  gzip: (_, response) => response.setHeader('Content-Encoding', 'gzip').end(gzipSync(asJson(answer))),
  'gzip without its name': (_, response) => response.end(gzipSync(asJson(answer))),
  brotli: (_, response) =>
    response.setHeader('Content-Encoding', 'br').end(brotliCompressSync(asJson(answer))),
  'an unknown coding': (_, response) =>
    response.setHeader('Content-Encoding', 'x').end(JSON.stringify(answer)),
  'single bytes': (_, response) => {
    for (const byte of asJson(answer)) response.write(Buffer.of(byte));
    response.end();
  },
  'a split inside the credential': (_, response) => {
    const text = JSON.stringify(answer);
    response.write(text.slice(0, 20));
    setImmediate(() => response.end(text.slice(20)));
  },
  trailers: (_, response) => {
    response.setHeader('Trailer', 'X-Token').addTrailers({ 'X-Token': secret });
    response.write(JSON.stringify(answer));
    response.end();
  },
  fields: (_, response) =>
    response
      .setHeader('X-Token', secret)
      .setHeader('Link', `<https://x/${secret}>; rel=next`)
      .setHeader('Location', `/x?t=${secret}`)
      .setHeader('WWW-Authenticate', `Bearer realm="${secret}"`)
      .setHeader('Retry-After', secret)
      .setHeader('X-RateLimit-Limit', secret)
      .setHeader('Date', secret)
      .end(JSON.stringify(answer)),
  'a reason phrase': (_, response) => response.writeHead(200, secret).end(JSON.stringify(answer)),
  'an interim response': (_, response) => {
    response.writeEarlyHints({ link: `</${secret}>; rel=preload` });
    response.end(JSON.stringify(answer));
  },
  'a redirect': (_, response) => response.writeHead(302, { Location: `/x#${secret}` }).end(secret),
  'the status 304': (_, response) => response.writeHead(304, { ETag: secret }).end(),
  'the status 206': (_, response) =>
    response.writeHead(206, { 'Content-Range': 'bytes 0-1/2' }).end(JSON.stringify(answer).slice(0, 70)),
  'the status 201': (_, response) => response.writeHead(201).end(JSON.stringify(answer)),
  'an error with the answer': (_, response) => response.writeHead(400).end(JSON.stringify(answer)),
  'an error that repeats it in a sentence': (_, response) =>
    response.writeHead(409).end(JSON.stringify({ message: `The token ${secret} is in use`, error: secret })),
  'an error that repeats it in a list': (_, response) =>
    response
      .writeHead(422)
      .end(JSON.stringify({ errors: [{ code: secret, message: `(${secret})` }, secret] })),
  'an error as text': (_, response) => response.writeHead(500).end(`failed: ${secret}`),
  'an answer without an end': (_, response) => {
    response.writeHead(200, { 'Content-Length': '5000' });
    response.write(JSON.stringify(answer));
    setImmediate(() => response.destroy());
  },
  'more than the limit': (_, response) =>
    response.end(JSON.stringify({ token: secret, pad: 'x'.repeat(300_000) })),
};

test('no mutation of an answer shows the credential', async () => {
  const { get } = await startMinting([row], (request, response) => {
    mutations[decodeURIComponent(request.url!.split('?')[1]!)]!(request, response);
  });
  for (const name of Object.keys(mutations)) {
    const headers = { 'accept-encoding': 'gzip, br', range: 'bytes=0-10', 'if-none-match': '"a"' };
    const { all } = await get(`/token?${encodeURIComponent(name)}`, { headers });
    expect(all.length, name).toBeGreaterThan(0);
    expectNothingOf(all, secret, name);
  }
});

/** Fields that request another answer than the whole one, or none. */
const conditions = {
  range: 'bytes=0-10',
  'if-range': '"a"',
  'if-match': '"a"',
  'if-none-match': '"a"',
  'if-modified-since': 'Sat, 01 Jan 2000 00:00:00 GMT',
  'if-unmodified-since': 'Sat, 01 Jan 2000 00:00:00 GMT',
  'a-im': 'vcdiff',
};

test('a service is asked for the whole answer, without coding and conditions', async () => {
  const { get, asked } = await startMinting([row], (_, response) => response.end(JSON.stringify(answer)));
  const headers = { 'accept-encoding': 'gzip', ...conditions };
  for (const path of ['/token', '/other']) await get(path, { headers });
  expect(asked[0]!.headers).toMatchObject({ 'accept-encoding': 'identity' });
  for (const name of Object.keys(conditions)) {
    expect(asked[0]!.headers, name).not.toHaveProperty(name);
    expect(asked[1]!.headers, name).toHaveProperty(name);
  }
});

/** Spellings of a path that some server reads as `/token`. */
const paths = [
  '/token',
  '/token/',
  '//token',
  '/./token',
  '/x/../token',
  '/x/%2e%2e/token',
  '/x%2f..%2ftoken',
  '/%74oken',
  '/%2574oken',
  '/TOKEN',
  '/token;x=y',
  '/;x/token',
  '/token.json',
  '/token%20',
  '/token%00',
  '/token?x=/other',
  '/token%3fx',
  '/%5ctoken',
  '/tok%EF%BD%85n',
];

test('no spelling of the path shows the credential', async () => {
  const { get } = await startMinting([row], (_, response) => response.end(JSON.stringify(answer)));
  for (const path of paths) expectNothingOf((await get(path)).all, secret, path);
});

test('a field from which servers take the path does not show the credential', async () => {
  const { get } = await startMinting([row], (_, response) => response.end(JSON.stringify(answer)));
  for (const name of ['x-original-url', 'x-rewrite-url'])
    expectNothingOf((await get('/other', { headers: { [name]: '/token' } })).all, secret, name);
});

test('a row with a field applies however the field and the row write its name', async () => {
  const header = { name: 'X_Kind', value: 'session' };
  const { get } = await startMinting([{ ...row, header }], (_, response) =>
    response.end(JSON.stringify(answer)),
  );
  for (const name of ['x-kind', 'x_kind', 'X-Kind']) {
    const seen = await get('/token', { headers: { [name]: 'session' } });
    expect(seen.status, name).toBe(200);
    expectNothingOf(seen.all, secret, name);
  }
});

test('a row with other hosts leaves an answer as it is', async () => {
  const elsewhere = [{ ...row, hosts: ['other.acme.test'] }];
  const { get } = await startMinting(elsewhere, (_, response) => response.end(JSON.stringify(answer)));
  expect(JSON.parse((await get('/token')).body)).toEqual(answer);
});

test('a compressed answer is refused before its body', async () => {
  const { get, sidekey } = await startMinting([row], (_, response) =>
    response.setHeader('Content-Encoding', 'gzip').end(gzipSync(asJson(answer))),
  );
  const seen = await get('/token');
  expect(seen).toMatchObject({ status: 502, body: expect.stringContaining('is compressed') });
  expect(await sidekey.proxy.state.store.grants.minted({ limit: 1 })).toEqual([]);
});

test('a credential that the client brings itself is not kept', async () => {
  const provider = { inject: [{ paths: ['/token'], as: 'own' }, { as: 'bearer' }] };
  const { get, asked, sidekey } = await startMinting(
    [row],
    (_, response) => response.end(JSON.stringify(answer)),
    {
      provider,
    },
  );
  const seen = await get('/token', {
    headers: { authorization: 'Bearer of-the-client', 'accept-encoding': 'br' },
  });
  expect(JSON.parse(seen.body)).toEqual(answer);
  expect(asked[0]!.headers['accept-encoding']).toBe('br');
  expect((await sidekey.audit()).some(({ event }) => event === 'grant.minted')).toBe(false);
});

test('no protocol is switched to at the path of a row', async () => {
  const { get, asked } = await startMinting([row], (_, response) => response.end(secret));
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  };
  expect(await get('/token', { headers })).toMatchObject({ status: 403 });
  expect(asked).toEqual([]);
});

test('the grant is committed before the answer is sent, and ends as the answer says', async () => {
  const { get, sidekey } = await startMinting([{ ...row, max_ttl: '1h' }], (_, response) =>
    response.end(JSON.stringify({ ...answer, expires_at: Math.floor(Date.now() / 1000) + 60 })),
  );
  const before = Date.now();
  await get('/token');
  const [minted] = await sidekey.proxy.state.store.grants.minted({ limit: 10 });
  expect(minted).toMatchObject({ mint: 'session', type: 'oauth2', lease: null });
  expect(minted!.expiresAt! - before).toBeGreaterThan(50_000);
  expect(minted!.expiresAt! - before).toBeLessThan(61_000);
  // The same credential is the same grant.
  await get('/token');
  expect(await sidekey.proxy.state.store.grants.minted({ limit: 10 })).toHaveLength(1);
});

test('rows of a domain are read too, and say how the credential is carried', async () => {
  const other = 'other.acme.test';
  const { get, asked, api } = await startMinting(
    [],
    (request, response) => response.end(request.url === '/use' ? 'done' : JSON.stringify(answer)),
    {
      domainOf: (host) => ({
        mints: [{ ...row, goes_to: [host], as: { header: 'X-Session' } }],
      }),
      // The row of another domain has the same name.
      others: {
        [other]: { grant: 'acme', mints: [{ ...row, goes_to: [other], as: { header: 'X-Other' } }] },
      },
    },
  );
  const { token } = JSON.parse((await get('/token')).body) as { token: string };
  await get('/use', { headers: { authorization: `Bearer ${token}` } });
  expect(asked.at(-1)!.headers).toMatchObject({ 'x-session': secret, host: api.authority });
  expect(asked.at(-1)!.headers.authorization).toBeUndefined();
});

const isUse = ({ event, path }: AuditLine) => event === 'access' && path === '/use';

test.each([
  ['a form', 'application/x-www-form-urlencoded', (text: string) => `a=1&client_secret=${text}`],
  ['JSON', 'application/json', (text: string) => JSON.stringify({ client_secret: text })],
])('a placeholder in %s selects its grant', async (_name, type, bodyOf) => {
  const { get, asked, sidekey } = await startMinting(
    [{ ...row, as: 'placeholder' }],
    (request, response) => response.end(request.url === '/use' ? 'done' : JSON.stringify(answer)),
    { provider: { placeholders: ['header', 'body'] } },
  );
  const { token } = JSON.parse((await get('/token')).body) as { token: string };
  const use = (body: string, headers = {}) =>
    get('/use', { method: 'POST', headers: { 'content-type': type, ...headers }, body });
  expect(await use(bodyOf(token))).toMatchObject({ status: 200, body: 'done' });
  expect(asked.at(-1)).toMatchObject({ body: bodyOf(secret) });
  expect(asked.at(-1)!.headers).not.toHaveProperty('authorization');
  const [minted] = await sidekey.proxy.state.store.grants.minted({ limit: 1 });
  expect(await sidekey.audited(isUse)).toMatchObject({ grant: minted!.id });
  // A body without it has the grant of the host.
  expect(await use(bodyOf('other'))).toMatchObject({ status: 200 });
  expect(asked.at(-1)!.headers.authorization).toBe(`Bearer ${bearerToken}`);
  // A body without a length may never end, so it is not read ahead.
  const chunked = await use(bodyOf(token), { 'transfer-encoding': 'chunked' });
  expect(chunked.all).toContain('placeholder_misused');
  expectNothingOf(chunked.all);
});

test('rows of an additional grant are read too, and the credential belongs to that grant', async () => {
  const api = await startUpstream((_, response) => response.end(JSON.stringify(answer)));
  const audience = [api.authority];
  const also = [{ grant: 'app', as: { header: 'X-App' } }];
  const sidekey = await startSidekey({
    domains: { [api.authority]: { grant: 'acme', also } },
    config: { providers: { acme: { audience }, app: { audience, mints: [{ ...row, goes_to: audience }] } } },
  });
  await sidekey.grant(audience);
  const { id } = await sidekey.grant(audience, { name: 'app', provider: 'app' });
  const seen = await seenBy(sidekey.url, `${api.url}/token`);
  expect(seen.status, seen.body).toBe(200);
  expectNothingOf(seen.all);
  expect(await sidekey.proxy.state.store.grants.minted({ limit: 9 })).toMatchObject([{ parent: id }]);
});

test('a credential whose answer is refused is revoked if its row says so', async () => {
  const ended: string[] = [];
  const login = await startUpstream((request, response) => {
    void requestBody(request).then((body) => {
      ended.push(new URLSearchParams(body).get('token') ?? '');
      response.end();
    });
  });
  const provider = {
    token_endpoint: `${login.url}/token`,
    revocation_endpoint: `${login.url}/revoke`,
    client_id: 'app',
    client_auth: 'none',
  };
  const leaking = { ...answer, sku: secret };
  for (const revoke of [false, true]) {
    const { get, sidekey } = await startMinting(
      [{ ...row, revoke }],
      (_, response) => response.end(JSON.stringify(leaking)),
      { provider },
    );
    expect(await get('/token')).toMatchObject({ status: 502 });
    expect(await sidekey.proxy.state.store.grants.minted({ limit: 1 })).toEqual([]);
    expect(ended).toEqual(revoke ? [secret] : []);
  }
});

test('the credential goes only where its row says', async () => {
  const elsewhere = [{ ...row, goes_to: ['other.acme.test'] }];
  const { get, asked } = await startMinting(elsewhere, (_, response) => response.end(JSON.stringify(answer)));
  const { token } = JSON.parse((await get('/token')).body) as { token: string };
  const used = await get('/use', { headers: { authorization: `Bearer ${token}` } });
  expect(used).toMatchObject({ status: 403 });
  expect(used.body).toContain('Wrong audience');
  expect(asked).toHaveLength(1);
});

test('an answer that names a host outside of goes_to is refused', async () => {
  const named = [{ ...row, goes_to_member: 'at' }];
  const { get } = await startMinting(named, (_, response) =>
    response.end(JSON.stringify({ ...answer, at: 'https://evil.test' })),
  );
  const seen = await get('/token');
  expect(seen).toMatchObject({ status: 502 });
  expect(JSON.parse(seen.body)).toMatchObject({ code: 'mint_unreadable' });
});

test('HTTP/2 shows no credential in interim heads, the head, the body or trailers', async () => {
  const upstream = await startH2Upstream((_, response) => {
    response.writeEarlyHints({ link: `</${secret}>; rel=preload` });
    response.setHeader('x-token', secret);
    response.addTrailers({ 'x-token': secret });
    response.end(JSON.stringify(answer));
  });
  const mints = [{ ...row, goes_to: [upstream.authority] }];
  const domains = { [upstream.authority]: { grant: 'acme', mints } };
  const { sidekey } = await grantedTo(upstream, { domains });
  const session = await openSession(sidekey, upstream.authority);
  const seen = await ask(session, { ':path': '/token' });
  expect(seen).toMatchObject({ status: 200, whole: true });
  expect(JSON.parse(seen.body)).toMatchObject({ sku: 'free', token: expect.stringMatching(/^sidekey/) });
  expectNothingOf(JSON.stringify(seen));
});

test('a limit for each grant counts the requests of minted grants too', async () => {
  let made = 0;
  const limited = { paths: ['/use'], limits: [{ requests_per_day: 2, per: 'grant' }] };
  const { get } = await startMinting(
    [row],
    (request, response) => {
      const token = `S3cret-of-Session-${(made += 1)}-abcdefXYZ`;
      response.end(request.url === '/token' ? JSON.stringify({ token }) : 'done');
    },
    { domainOf: () => ({ rules: [{ paths: ['/token'] }, limited] }) },
  );
  const statuses = [(await get('/use')).status];
  for (let n = 0; n < 2; n += 1) {
    const { token } = JSON.parse((await get('/token')).body) as { token: string };
    statuses.push((await get('/use', { headers: { authorization: `Bearer ${token}` } })).status);
  }
  expect(statuses).toEqual([200, 200, 429]);
});

test('a grant that the body selects is judged by the body too', async () => {
  const { get, sidekey, api, asked } = await startMinting(
    [{ ...row, as: 'placeholder' }],
    (request, response) => response.end(request.url === '/token' ? JSON.stringify(answer) : 'done'),
    {
      provider: { placeholders: ['header', 'body'] },
      domainOf: () => ({
        rules: [
          { paths: ['/token'] },
          { labels: ['b'], methods: ['DELETE'], outcome: 'deny' },
          { labels: ['b'], form: { a: ['2'] }, outcome: 'deny' },
          { paths: ['/**'] },
        ],
      }),
    },
  );
  const other = await sidekey.grant([api.authority], { name: 'b', provider: 'acme' });
  await sidekey.proxy.state.store.grantPolicies.set(other.id, { labels: ['b'] });
  const minted = await get('/token', { headers: { 'sidekey-grant': 'b' } });
  const { token } = JSON.parse(minted.body) as { token: string };
  const post = (body: string) =>
    get('/use', {
      method: 'POST',
      body,
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': String(body.length),
      },
    });
  expect((await post(`a=1&token=${token}`)).status).toBe(200);
  for (const body of [`a=2&token=${token}`, `_method=DELETE&token=${token}`])
    expect((await post(body)).status, body).toBe(403);
  expect(asked.filter(({ target }) => target === '/use')).toHaveLength(1);
});
