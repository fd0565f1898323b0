/**
 * A credential that is a cookie, stands in the body or signs: what a client or an upstream could make of that. The client's
 * own never wins, nothing goes elsewhere, nothing is told, and no session comes back.
 */
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/grants/credential.ts';
import { carryingHouse, valuesIn, type Asked, type ClientProtocol } from '../support/carrying-house.ts';
import { bearerToken } from '../support/sidekey.ts';
import { startH2Upstream } from '../support/upstream.ts';
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

  test('never goes to a host outside the audience, though the map names it', async () => {
    const house = await carryingHouse(inject, options);
    const seen: string[] = [];
    const other = await startH2Upstream((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const { sidekey, upstream } = house;
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
    expect([seen, house.seen]).toEqual([[], []]);
    for (const said of [answer.body, sidekey.logged(), JSON.stringify(await sidekey.audit())])
      expect(said).not.toContain(bearerToken);
  });

  test('is in no audit line and no log, and out of what comes back where that is guarded', async () => {
    const house = await carryingHouse(inject, {
      ...options,
      domain: { echo_guard: 'redact' },
      answer: () => ({ body: `you sent ${bearerToken} and {"key":"${bearerToken}"}` }),
    });
    const answer = await house.ask('HTTP/1.1', asked);
    expect(answer.status).toBe(200);
    expect(answer.body).not.toContain(bearerToken);
    await house.sidekey.audited(({ event }) => event === 'outcome');
    const audit = JSON.stringify(await house.sidekey.audit());
    expect(audit).toContain('"access"');
    expect(audit + house.sidekey.logged()).not.toContain(bearerToken);
  });
});

describe.each<ClientProtocol>(['HTTP/1.1', 'HTTP/2'])('over %s', (protocol) => {
  test.each([
    '{"KEY":"mine","key":"mine"}',
    '{"key":"mine","a":1,"k\\u0065y":"mine"}',
    '{"\u00e2\u0084\u00aaey":"mine"}', // KELVIN SIGN, which folds to k
    '{"key":{"key":"mine"},"Key":["mine"]}',
  ])('a JSON client’s own never wins: %s', async (body) => {
    const { ask, seen } = await carryingHouse({ json: 'key' });
    await ask(protocol, { method: 'POST', fields: json, body });
    const sent = seen[0]!.body.toString();
    expect(sent).not.toContain('mine');
    expect(sent.split(bearerToken)).toHaveLength(2);
  });

  test.each(['KEY=mine&key=mine', 'a=1&k%65y=mine&key[]=mine', '%6bey%00x=mine', 'k%u0065y=mine&+key=mine'])(
    'a form client’s own never wins: %s',
    async (body) => {
      const { ask, seen } = await carryingHouse({ form: 'key' });
      await ask(protocol, { method: 'POST', fields: form, body });
      const sent = seen[0]!.body.toString();
      expect(sent).not.toContain('mine');
      expect(sent.split(bearerToken)).toHaveLength(2);
    },
  );

  test.each(['sid=mine; sid=mine', 'a=1; SID=mine', 's%69d=mine', '=sid=mine', 'a="; sid=mine; b="', 'sid'])(
    'a client’s own cookie never wins: %s',
    async (cookie) => {
      const { ask, seen } = await carryingHouse({ cookie: 'sid' });
      await ask(protocol, { fields: ['Cookie', cookie] });
      const sent = valuesIn(seen[0]!, 'cookie').join('; ');
      expect(sent).not.toContain('mine');
      expect(sent.match(/sid/gi)).toHaveLength(1);
      expect(sent).toContain(`sid=${bearerToken}`);
    },
  );

  test('a cookie that some see within another is refused', async () => {
    const { ask, seen } = await carryingHouse({ cookie: 'sid' });
    const answer = await ask(protocol, { fields: ['Cookie', 'a=1, sid=mine'] });
    expect(problemOf(answer)).toMatchObject({
      code: 'policy_violation',
      detail: expect.stringContaining('read as sid'),
    });
    expect(seen).toEqual([]);
  });

  test('a parameter of the query that some see within another is refused', async () => {
    const ways: [object, Credential | undefined][] = [
      [{ query: 'sig' }, undefined],
      [signed({ query: { sig: '{signature}' } }), pair],
    ];
    for (const [inject, credential] of ways) {
      const { ask, seen } = await carryingHouse(inject, credential === undefined ? {} : { credential });
      const answer = await ask(protocol, { path: '/?a=1;sig=mine' });
      expect(problemOf(answer)).toMatchObject({
        code: 'policy_violation',
        hint: expect.stringContaining('%3B'),
      });
      expect(seen).toEqual([]);
    }
  });

  test('a session that the service hands out anew stays here, and other cookies do not', async () => {
    const { ask } = await carryingHouse(
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

  test('a signature does not come back in a redirect', async () => {
    const { ask, seen } = await carryingHouse(signed({ query: { sig: '{signature}' } }), {
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
  'a credential that is no cookie is refused, and not shown: %j',
  async (value) => {
    const { ask, seen, sidekey } = await carryingHouse(
      { cookie: 'sid' },
      { credential: { type: 'api_key', value } },
    );
    const answer = await ask('HTTP/1.1');
    expect(problemOf(answer)).toMatchObject({
      code: 'policy_violation',
      detail: 'The stored credential holds a byte that must not stand in a cookie.',
    });
    expect(answer.body + sidekey.logged() + JSON.stringify(await sidekey.audit())).not.toContain(value);
    expect(seen).toEqual([]);
  },
);

test('nobody is asked about a body that the credential cannot be written into', async () => {
  const { ask, seen, sidekey } = await carryingHouse(
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
] as const)('a service that shows what it was sent shows no credential: %j', async (inject, fields, body) => {
  const { ask } = await carryingHouse(inject, {
    answer: (it) => ({ body: `you sent ${it.body.toString()}` }),
  });
  const answer = await ask('HTTP/1.1', { method: 'POST', fields, body });
  expect(answer.status).toBe(200);
  expect(answer.body).toMatch(/^you sent /);
  expect(answer.body).not.toContain(bearerToken);
});
