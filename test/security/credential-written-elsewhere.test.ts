/**
 * A credential that is a cookie, stands in the body or signs: what a client or an upstream could make of
 * that. The client's own never wins, nothing goes elsewhere, nothing is told, and no session comes back.
 */
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/domain/credential.ts';
import type { HmacPlacement } from '../../src/proxy/schemes/hmac.ts';
import { bodyWith } from '../../src/proxy/schemes/body.ts';
import { substitutePlaceholders } from '../../src/proxy/placeholders/substitute.ts';
import { applyScheme } from '../../src/proxy/schemes/apply.ts';
import type { FoundCode } from '../../src/proxy/placeholders/codes.ts';
import { startInjectProxy, valuesIn, type Asked, type ClientProtocol } from '../support/inject-proxy.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { startH2Upstream, startUpstream } from '../support/upstream.ts';
import { openTunnel, problemOf } from '../support/raw-client.ts';

const json = ['Content-Type', 'application/json'];
const form = ['Content-Type', 'application/x-www-form-urlencoded'];
const pair: Credential = { type: 'basic', username: 'KEY-ID', password: bearerToken };
const signed = (more: object) => ({ hmac: { algorithm: 'sha256', sign: '{method}{target}{body}', ...more } });

interface Way {
  readonly inject: object;
  readonly credential?: Credential;
  /** A request that carries it. */
  readonly asked: Asked;
}

const ways: readonly (readonly [string, Way])[] = [
  ['header templates', { inject: { headers: { 'X-Key': '{token}', 'X-More': 'v={token}' } }, asked: {} }],
  [
    'header templates of a pair',
    { inject: { headers: { 'X-Key': '{password}', 'X-User': '{username}' } }, credential: pair, asked: {} },
  ],
  ['a cookie', { inject: { cookie: 'sid' }, asked: {} }],
  ['JSON', { inject: { json: 'key' }, asked: { method: 'POST', fields: json, body: '{}' } }],
  ['a form', { inject: { form: 'key' }, asked: { method: 'POST', fields: form, body: 'a=b' } }],
  [
    'a signature',
    {
      inject: signed({ headers: { 'X-Key': '{key}', 'X-Signed': '{signature}' } }),
      credential: pair,
      asked: {},
    },
  ],
  [
    'a signature in the query',
    { inject: signed({ query: { sig: '{signature}' } }), credential: pair, asked: {} },
  ],
];

describe.each(ways)('%s', (_, { inject, credential, asked }) => {
  const options = credential === undefined ? {} : { credential };

  test('never goes to a host outside the audience, even if the map lists the host', async () => {
    const setup = await startInjectProxy(inject, options);
    const seen: string[] = [];
    const other = await startH2Upstream((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const { sidekey, upstream } = setup;
    await sidekey.configure({
      domains: { [other.authority]: { grant: 'acme' } },
      providers: { acme: { audience: [upstream.authority, other.authority], inject } },
    });
    const client = await openTunnel(sidekey, other.authority);
    const { method = 'GET', fields = [], body = '' } = asked;
    const lines = fields.length === 0 ? '' : `${fields.join(': ')}\r\nContent-Length: ${body.length}\r\n`;
    client.send(`${method} / HTTP/1.1\r\nHost: ${other.authority}\r\n${lines}\r\n${body}`);
    const answer = await client.response();
    expect(answer.status).toBe(403);
    expect(problemOf(answer).detail).toMatch(/^Wrong audience: /);
    expect([seen, setup.seen]).toEqual([[], []]);
    for (const said of [answer.body, sidekey.logged(), JSON.stringify(await sidekey.audit())])
      expect(said).not.toContain(bearerToken);
  });

  test('is in no audit line and no log, and is removed from guarded responses', async () => {
    const setup = await startInjectProxy(inject, {
      ...options,
      domain: { leak_guard: 'redact' },
      answer: () => ({ body: `you sent ${bearerToken} and {"key":"${bearerToken}"}` }),
    });
    const answer = await setup.ask('HTTP/1.1', asked);
    expect(answer.status).toBe(200);
    expect(answer.body).not.toContain(bearerToken);
    await setup.sidekey.audited(({ event }) => event === 'outcome');
    const audit = JSON.stringify(await setup.sidekey.audit());
    expect(audit).toContain('"access"');
    expect(audit + setup.sidekey.logged()).not.toContain(bearerToken);
  });
});

describe.each<ClientProtocol>(['HTTP/1.1', 'HTTP/2'])('over %s', (protocol) => {
  test.each([
    '{"KEY":"mine","key":"mine"}',
    '{"key":"mine","a":1,"k\\u0065y":"mine"}',
    '{"\u00e2\u0084\u00aaey":"mine"}', // KELVIN SIGN, which folds to k
    '{"key":{"key":"mine"},"Key":["mine"]}',
    '{"key\\u0000":"mine","key":"mine"}', // ends at the NUL for parsers in C
  ])('a value in the client’s JSON never replaces the credential: %s', async (body) => {
    const { ask, seen } = await startInjectProxy({ json: 'key' });
    await ask(protocol, { method: 'POST', fields: json, body });
    const sent = seen[0]!.body.toString();
    expect(sent).not.toContain('mine');
    expect(sent.split(bearerToken)).toHaveLength(2);
  });

  test.each([
    'KEY=mine&key=mine',
    'a=1&k%65y=mine&key[]=mine',
    '%6bey%00x=mine',
    'k%u0065y=mine&+key=mine',
    '[key]=mine&%5Bkey][a]=mine',
  ])('a value in the client’s form never replaces the credential: %s', async (body) => {
    const { ask, seen } = await startInjectProxy({ form: 'key' });
    await ask(protocol, { method: 'POST', fields: form, body });
    const sent = seen[0]!.body.toString();
    expect(sent).not.toContain('mine');
    expect(sent.split(bearerToken)).toHaveLength(2);
  });

  test.each(['sid=mine; sid=mine', 'a=1; SID=mine', 's%69d=mine', '=sid=mine', 'a="b"; sid=mine', 'sid'])(
    'a cookie of the client never replaces the credential: %s',
    async (cookie) => {
      const { ask, seen } = await startInjectProxy({ cookie: 'sid' });
      await ask(protocol, { fields: ['Cookie', cookie] });
      const sent = valuesIn(seen[0]!, 'cookie').join('; ');
      expect(sent).not.toContain('mine');
      expect(sent.match(/sid/gi)).toHaveLength(1);
      expect(sent).toContain(`sid=${bearerToken}`);
    },
  );

  test.each(['a=1, sid=mine', 'a=1 sid=mine', 'sid=x; a=1\tsid=mine'])(
    'a cookie that some servers see within another cookie is refused: %j',
    async (cookie) => {
      const { ask, seen } = await startInjectProxy({ cookie: 'sid' });
      const answer = await ask(protocol, { fields: ['Cookie', cookie] });
      expect(problemOf(answer)).toMatchObject({
        code: 'policy_violation',
        detail: expect.stringContaining('read as sid'),
      });
      expect(seen).toEqual([]);
    },
  );

  test.each(['a="', 'a="; sid=mine; b="', 'a="b\\"', 'a= "b'])(
    'a quote in a client cookie that would enclose the credential is refused: %s',
    async (cookie) => {
      const { ask, seen } = await startInjectProxy({ cookie: 'sid' });
      const answer = await ask(protocol, { fields: ['Cookie', cookie] });
      expect(problemOf(answer)).toMatchObject({
        code: 'policy_violation',
        detail: expect.stringContaining('a quote that does not end'),
      });
      expect(seen).toEqual([]);
    },
  );

  test.each<[object, Credential | undefined]>([
    [{ headers: { 'X-Api-Key': '{token}' } }, undefined],
    [{ header: 'x_api_key' }, undefined],
    [signed({ headers: { 'X-Api-Key': '{signature}' } }), pair],
  ])('a field of the client never replaces the credential, with _ or -: %j', async (inject, credential) => {
    const { ask, seen } = await startInjectProxy(inject, credential === undefined ? {} : { credential });
    await ask(protocol, { fields: ['X_Api_Key', 'mine', 'x-api_key', 'mine', 'X_Other', 'stays'] });
    const names = seen[0]!.fields.filter((_, index) => index % 2 === 0);
    expect(names.filter((name) => /^x.api.key$/.test(name))).toHaveLength(1);
    expect(seen[0]!.fields).not.toContain('mine');
    expect(valuesIn(seen[0]!, 'x_other')).toEqual(['stays']);
  });

  test('a query parameter that some servers see within another is refused', async () => {
    const ways: [object, Credential | undefined][] = [
      [{ query: 'sig' }, undefined],
      [signed({ query: { sig: '{signature}' } }), pair],
    ];
    for (const [inject, credential] of ways) {
      const { ask, seen } = await startInjectProxy(inject, credential === undefined ? {} : { credential });
      const answer = await ask(protocol, { path: '/?a=1;sig=mine' });
      expect(problemOf(answer)).toMatchObject({
        code: 'policy_violation',
        hint: expect.stringContaining('%3B'),
      });
      expect(seen).toEqual([]);
    }
  });

  test('a session cookie that the service renews is not forwarded to the client, and other cookies are', async () => {
    const { ask } = await startInjectProxy(
      { cookie: 'sid' },
      {
        answer: () => ({
          fields: {
            'set-cookie': ['a=1; Path=/', 'sid=fresh-session; HttpOnly', 'SID=fresh-session', 'b=2'],
          },
        }),
      },
    );
    const answer = await ask(protocol);
    expect(answer.status).toBe(200);
    expect(JSON.stringify(answer.headers)).not.toContain('fresh-session');
    expect([answer.headers['set-cookie']].flat().join(', ')).toBe('a=1; Path=/, b=2');
  });

  test('a signature is not returned in a redirect', async () => {
    const { ask, seen } = await startInjectProxy(signed({ query: { sig: '{signature}' } }), {
      credential: pair,
      answer: ({ url }) => ({ fields: { location: `https://elsewhere.test${url}` } }),
    });
    const answer = await ask(protocol, { path: '/a?b=1' });
    const [, signature = ''] = /&sig=([0-9a-f]{64})$/.exec(seen[0]!.url) ?? [];
    expect(signature).not.toBe('');
    expect(answer.headers['location']).toBe('https://elsewhere.test/a?b=1&sig=');
  });
});

test.each(['two words', 'semi;colon-01234', 'com,ma-0123456', 'quo"te-0123456', 'back\\slash-0123'])(
  'a credential that is not a valid cookie value is refused without being shown: %j',
  async (value) => {
    const { ask, seen, sidekey } = await startInjectProxy(
      { cookie: 'sid' },
      { credential: { type: 'api_key', value } },
    );
    const answer = await ask('HTTP/1.1');
    expect(problemOf(answer)).toMatchObject({
      code: 'policy_violation',
      detail: 'The stored credential has a byte that a cookie cannot have.',
    });
    expect(answer.body + sidekey.logged() + JSON.stringify(await sidekey.audit())).not.toContain(value);
    expect(seen).toEqual([]);
  },
);

test('no approval is requested for a body that cannot carry the credential', async () => {
  const { ask, seen, sidekey } = await startInjectProxy(
    { json: 'key' },
    { domain: { default: 'approve' }, config: { admin: { listen: '127.0.0.1:0' } } },
  );
  const answer = await ask('HTTP/1.1', { method: 'POST', fields: json, body: '{"a":1,"a":2}' });
  expect(problemOf(answer)).toMatchObject({
    code: 'policy_violation',
    detail: expect.stringContaining('a key twice'),
  });
  expect((await sidekey.audit()).map(({ event }) => event)).not.toContain('approval.asked');
  expect(seen).toEqual([]);
});

test.each([
  [{ json: 'key' }, json, '{}'],
  [{ form: 'key' }, form, 'a=b'],
] as const)(
  'a response of a service that echoes its request contains no credential: %j',
  async (inject, fields, body) => {
    const { ask } = await startInjectProxy(inject, {
      answer: (it) => ({ body: `you sent ${it.body.toString()}` }),
    });
    const answer = await ask('HTTP/1.1', { method: 'POST', fields, body });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatch(/^you sent /);
    expect(answer.body).not.toContain(bearerToken);
  },
);

test('a trailer with the name of the credential field is not forwarded', async () => {
  const trailers = Promise.withResolvers<readonly string[]>();
  const upstream = await startUpstream((request, response) => {
    request.resume().on('end', () => {
      trailers.resolve(request.rawTrailers);
      response.end();
    });
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: { providers: { acme: { audience: [upstream.authority], inject: { header: 'X-Api-Key' } } } },
  });
  await sidekey.grant([upstream.authority]);
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(
    `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    '1\r\na\r\n0\r\nX-Api-Key: mine\r\nx_api_key: mine\r\nX-Sum: 1\r\n\r\n',
  );
  expect((await client.response()).status).toBe(200);
  expect(await trailers.promise).toEqual(['X-Sum', '1']);
});

test('a body whose announced length is too long is not requested', async () => {
  const { sidekey, upstream, seen } = await startInjectProxy({ json: 'key' });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(
    `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Type: application/json\r\n`,
    'Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n',
  );
  const answer = await client.response();
  expect([answer.status, problemOf(answer).code]).toEqual([413, 'body_too_large']);
  expect(seen).toEqual([]);
});

test('a signing secret never replaces its placeholder', () => {
  const placeholder = 'placeholder-of-acme';
  const plan: HmacPlacement = {
    kind: 'hmac',
    algorithm: 'sha256',
    sign: '{target}',
    secret: 'utf8',
    encoding: 'hex',
    timestamp: 'seconds',
    headers: [['X-Signed', '{signature}']],
    query: [],
  };
  const facts = { method: 'GET', hasBody: false, bodyHash: null, body: null, now: 0, chunkBytes: 0 };
  const credential = { type: 'api_key', value: bearerToken } as const;
  const placeholders = {
    texts: () => [placeholder],
    places: ['header', 'path', 'query', 'body', 'websocket'],
    codes: { find: (text: string) => (text.includes(placeholder) ? [{} as FoundCode] : []) },
    inContent: false,
    body: null,
  } as const;
  const injecting = (fields: readonly string[]) => {
    const applied = applyScheme(
      { path: '/', fields },
      {
        sealed: { credential, audience: ['api.acme.test'] },
        placement: plan,
        authority: { scheme: 'https', host: 'api.acme.test', port: 443 },
        facts,
      },
    );
    return substitutePlaceholders(applied, placeholders, credential, plan);
  };
  expect(() => injecting(['X-Mine', placeholder])).toThrow('where the credential of this grant is not used');
  expect(injecting(['Authorization', `Bearer ${placeholder}`]).fields.join(' ')).not.toContain(bearerToken);
  expect(injecting([]).messages).toBeUndefined();
});

test('a long run of unordered combining marks is processed in under 5 s of CPU time', () => {
  // Each run of these takes the square of its length, if it is one: minutes.
  for (const marks of ['\u0301\u0323', '\u0301\uff9e', '\u0344\u0f73']) {
    const body = Buffer.from(JSON.stringify({ [`a${marks.repeat(150_000)}`]: 1 }));
    const began = process.cpuUsage();
    expect(bodyWith(body, { kind: 'json', path: ['key'] }, bearerToken).length).toBeGreaterThan(body.length);
    const { user, system } = process.cpuUsage(began);
    expect((user + system) / 1000).toBeLessThan(5000);
  }
});
