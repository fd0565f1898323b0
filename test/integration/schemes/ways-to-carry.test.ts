/** Header templates, cookies and fields of the body, through the proxy, over both protocols. */
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../../src/domain/credential.ts';
import { startInjectProxy, valuesIn, type ClientProtocol, type Told } from '../../support/inject-proxy.ts';
import { openTunnel, problemOf } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const protocols: readonly ClientProtocol[] = ['HTTP/1.1', 'HTTP/2'];
const pair: Credential = { type: 'basic', username: 'ann', password: 'open-sesame-0123' };
const json = ['Content-Type', 'application/json'];
const form = ['Content-Type', 'application/x-www-form-urlencoded'];

function refusal({ status, headers, body }: Told) {
  expect(headers['sidekey-error']).toBe(problemOf({ body }).code);
  return { status, ...problemOf({ body }) };
}

describe.each(protocols)('over %s', (protocol) => {
  test('header templates carry one value in several fields', async () => {
    const { ask, seen } = await startInjectProxy({
      headers: { 'X-Api-Key': '{token}', 'X-Sum': 'v1 {{{token}}}' },
    });
    const fields = ['X-Api-Key', 'mine', 'Authorization', 'Bearer mine', 'x-sum', 'mine', 'X-Other', 'stays'];
    expect((await ask(protocol, { fields })).status).toBe(200);
    const [it] = seen;
    expect(it).toMatchObject({ version: protocol === 'HTTP/2' ? '2.0' : '1.1' });
    expect(valuesIn(it!, 'x-api-key')).toEqual([bearerToken]);
    expect(valuesIn(it!, 'x-sum')).toEqual([`v1 {${bearerToken}}`]);
    expect(valuesIn(it!, 'authorization')).toEqual([]);
    expect(valuesIn(it!, 'x-other')).toEqual(['stays']);
  });

  test('header templates carry a user name and a password', async () => {
    const inject = { headers: { 'X-Api-Key': '{password}', 'X-Account': 'acct {username}' } };
    const { ask, seen } = await startInjectProxy(inject, { credential: pair });
    await ask(protocol);
    expect(valuesIn(seen[0]!, 'x-api-key')).toEqual(['open-sesame-0123']);
    expect(valuesIn(seen[0]!, 'x-account')).toEqual(['acct ann']);
    expect(valuesIn(seen[0]!, 'authorization')).toEqual([]);
  });

  test('a template with a part that the credential lacks is refused', async () => {
    const { ask, seen } = await startInjectProxy({ headers: { 'X-Api-Key': '{password}' } });
    expect(refusal(await ask(protocol))).toMatchObject({
      status: 403,
      code: 'policy_violation',
      detail:
        'The provider of this grant carries {password}, and its credential is no user name and password.',
      hint: expect.stringContaining('"type":"basic"'),
    });
    expect(seen).toEqual([]);
  });

  test('a cookie is added to the cookies of the client', async () => {
    const { ask, seen } = await startInjectProxy({ cookie: 'sid' });
    const asked = { fields: ['Cookie', 'a=1; sid=placeholder; b="2"', 'Authorization', 'Bearer mine'] };
    expect((await ask(protocol, asked)).status).toBe(200);
    await ask(protocol);
    expect(seen.map((it) => valuesIn(it, 'cookie').join('; '))).toEqual([
      `a=1; sid=${bearerToken}; b="2"`,
      `sid=${bearerToken}`,
    ]);
    expect(valuesIn(seen[0]!, 'authorization')).toEqual([]);
  });

  test('a member of a JSON body is replaced in place', async () => {
    const { ask, seen } = await startInjectProxy({ json: 'api_key' });
    const body = '{ "a": 1.0, "api_k\\u0065y": "placeholder", "b": "\u00c3\u00a9" }';
    expect(
      (await ask(protocol, { method: 'POST', fields: [...json, 'Authorization', 'x'], body })).status,
    ).toBe(200);
    const [it] = seen;
    expect(it!.body.toString('latin1')).toBe(
      `{ "a": 1.0, "api_key": "${bearerToken}", "b": "\u00c3\u00a9" }`,
    );
    expect(valuesIn(it!, 'content-length')).toEqual([String(it!.body.length)]);
    expect(valuesIn(it!, 'authorization')).toEqual([]);
  });

  test('a member that the client left out is added, together with its parent object', async () => {
    const { ask, seen } = await startInjectProxy({ json: '/auth/token' });
    await ask(protocol, { method: 'POST', fields: json, body: '{"a":1}' });
    await ask(protocol, { method: 'POST', fields: json, body: '{"auth":{"token":"mine","x":[]}}' });
    expect(seen.map(({ body }) => body.toString())).toEqual([
      `{"auth":{"token":"${bearerToken}"},"a":1}`,
      `{"auth":{"token":"${bearerToken}","x":[]}}`,
    ]);
  });

  test('a parameter of a form is replaced in place, and checksum fields of the body are removed', async () => {
    const { ask, seen } = await startInjectProxy({ form: 'token' });
    const fields = [...form, 'Content-MD5', 'x', 'Content-Digest', 'sha-256=:x:'];
    await ask(protocol, { method: 'POST', fields, body: 'a=%20+b&tok%65n=mine&c&token=again' });
    const [it] = seen;
    expect(it!.body.toString()).toBe(`a=%20+b&token=${bearerToken}&c`);
    expect(valuesIn(it!, 'content-length')).toEqual([String(it!.body.length)]);
    expect([...valuesIn(it!, 'content-md5'), ...valuesIn(it!, 'content-digest')]).toEqual([]);
  });

  const oneReading = 'that can be read in one way alone';
  test.each<[string, object, string[], string | undefined, string, string]>([
    ['no body', { json: 'key' }, [], undefined, 'the request has none', 'send a JSON object'],
    ['a form', { json: 'key' }, form, 'key=1', 'has another body', 'application/json'],
    ['no type', { form: 'key' }, [], 'key=1', 'has another body', 'x-www-form-urlencoded'],
    [
      'two types',
      { form: 'key' },
      ['Content-Type', 'application/x-www-form-urlencoded, text/plain'],
      'key=1',
      'has another body',
      'x-www-form-urlencoded',
    ],
    [
      'another charset',
      { json: 'key' },
      ['Content-Type', 'application/json; charset=utf-16'],
      '{}',
      'has another body',
      'application/json',
    ],
    [
      'a coding',
      { json: 'key' },
      [...json, 'Content-Encoding', 'gzip'],
      '{}',
      'is compressed',
      'without Content-Encoding',
    ],
    ['no JSON', { json: 'key' }, json, '{"key":}', 'is not JSON', oneReading],
    ['a list', { json: 'key' }, json, '[{}]', 'is not a JSON object', oneReading],
    ['a byte order mark', { json: 'key' }, json, '\u00ef\u00bb\u00bf{}', 'is not JSON', oneReading],
    ['no UTF-8', { json: 'key' }, json, '{"a":"\u00ff"}', 'is not UTF-8', oneReading],
    ['another key twice', { json: 'key' }, json, '{"a":1,"a":2}', 'has a key twice', oneReading],
    [
      'an object twice',
      { json: '/auth/key' },
      json,
      '{"auth":{},"Auth":{}}',
      'has auth in more than one spelling',
      oneReading,
    ],
    ['no object there', { json: '/auth/key' }, json, '{"auth":[]}', 'has no object at auth', oneReading],
    [
      'a parameter in another',
      { form: 'key' },
      form,
      'a=b;key=mine',
      'some servers would read as key',
      oneReading,
    ],
  ])('a body with %s is refused, and nothing is sent', async (_, inject, fields, body, sentence, hint) => {
    const { ask, seen, sidekey } = await startInjectProxy(inject);
    const answer = await ask(protocol, { method: 'POST', fields, ...(body === undefined ? {} : { body }) });
    expect(refusal(answer)).toMatchObject({
      status: 403,
      code: 'policy_violation',
      detail: expect.stringContaining(sentence),
      hint: expect.stringContaining(hint),
    });
    expect(seen).toEqual([]);
    expect((await sidekey.audit()).map(({ event }) => event)).not.toContain('access');
  });

  test('a body longer than the limit is refused', async () => {
    const { ask, seen } = await startInjectProxy(
      { json: 'key' },
      { config: { limits: { injected_body_bytes: 10 } } },
    );
    expect((await ask(protocol, { method: 'POST', fields: json, body: '{"a":1234}' })).status).toBe(200);
    const answer = await ask(protocol, { method: 'POST', fields: json, body: '{"a":12345}' });
    expect(refusal(answer)).toMatchObject({
      status: 413,
      code: 'body_too_large',
      hint: expect.stringContaining('limits.injected_body_bytes'),
    });
    expect(seen).toHaveLength(1);
  });
});

test('a chunked body is sent with a Content-Length', async () => {
  const { ask, seen } = await startInjectProxy({ json: 'key' });
  await ask('HTTP/1.1', {
    method: 'POST',
    fields: [...json, 'Trailer', 'X-Sum'],
    body: '{"a":"b"}',
    isChunked: true,
  });
  const [it] = seen;
  expect(it!.body.toString()).toBe(`{"key":"${bearerToken}","a":"b"}`);
  expect(valuesIn(it!, 'content-length')).toEqual([String(it!.body.length)]);
  expect([...valuesIn(it!, 'transfer-encoding'), ...valuesIn(it!, 'trailer')]).toEqual([]);
});

test('a client that expects a 100 gets a 100', async () => {
  const { seen, sidekey, upstream } = await startInjectProxy({ form: 'key' });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(
    `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${form.join(': ')}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n`,
  );
  expect((await client.response()).status).toBe(100);
  client.send('a=b');
  expect((await client.response()).status).toBe(200);
  expect(seen[0]!.body.toString()).toBe(`a=b&key=${bearerToken}`);
});

test('a body that is sent again after a 401 contains the new token', async () => {
  const bodies: string[] = [];
  const upstream = await startUpstream((request, response) => {
    void requestBody(request).then((body) => {
      if (request.url === '/token') {
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ access_token: 'second-and-longer-token', expires_in: 3600 }));
        return;
      }
      bodies.push(body);
      response.writeHead(body.includes('second') ? 200 : 401, { 'content-length': 0 }).end();
    });
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: {
      providers: {
        acme: {
          token_endpoint: `${upstream.url}/token`,
          client_id: 'x',
          audience: [upstream.authority],
          inject: { json: 'token' },
        },
      },
    },
  });
  const credential: Credential = oauth2Credential({
    accessToken: 'first-token',
    refreshToken: 'refresh-token',
    expiresAt: Date.now() + 3_600_000,
    clientId: 'x',
  });
  await sidekey.grant([upstream.authority], { credential });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(
    `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${json.join(': ')}\r\nContent-Length: 7\r\n\r\n{"a":1}`,
  );
  expect((await client.response()).status).toBe(200);
  expect(bodies).toEqual(['{"token":"first-token","a":1}', '{"token":"second-and-longer-token","a":1}']);
});
