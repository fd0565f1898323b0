/** `POST /v2/relay`: a request and its answer, streamed. */
import { once } from 'node:events';
import {
  type IncomingMessage,
  request as httpRequest,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { makeSignInLink } from '../../../src/operations/sign-in-link.ts';
import type { ApiKeyRecord } from '../../../src/store/store.ts';
import { bearerToken } from '../../support/sidekey.ts';
import { startService, type TestService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';
import { requestBody, requestBytes } from '../../support/request-body.ts';

type Fields = readonly (readonly [name: string, value: string])[];

interface Head {
  readonly method: string;
  readonly url: string;
  readonly headers?: Fields;
  readonly grant?: string;
  readonly agent?: string;
  readonly user?: string;
  readonly reason?: string;
}

interface AnswerHead {
  readonly status: number;
  readonly headers: Fields;
  readonly dropped?: readonly string[];
  readonly grant: { readonly name: string } | null;
  readonly exchange: string | null;
}

type Listener = (...exchange: Parameters<RequestListener>) => void | Promise<void>;

async function relaying(listener: Listener, domain: object | string = { grant: 'desk' }) {
  const upstream = await startUpstream((request, response) => void listener(request, response));
  const service = await startService({ domains: { [upstream.authority]: domain } });
  await service.sidekey.grant([upstream.authority], { name: 'desk' });
  const key = await service.key();
  const relay = (head: Partial<Head> | string, init: RequestInit = {}) =>
    fetch(`${service.url}/v2/relay`, {
      method: 'POST',
      ...init,
      headers: {
        'x-api-key': key,
        'sidekey-relay':
          typeof head === 'string' ? head : asciiJson({ method: 'GET', url: upstream.url, ...head }),
        ...(init.headers as Record<string, string>),
      },
    });
  return { ...service, upstream, relay, apiKey: key };
}

/** Returns JSON whose other characters are escaped, because a field is ASCII. */
const asciiJson = (value: unknown) =>
  JSON.stringify(value).replace(
    /[^ -~]/g,
    (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** A request as the upstream received it. */
interface Seen {
  readonly method: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Upstream whose answer is its request. */
const echo: Listener = async (request, response) => {
  const body = await requestBody(request);
  response.end(JSON.stringify({ method: request.method, fields: request.headers, body }));
};

const problemOf = async (response: Response) => (await response.json()) as { readonly code: string };

const headOf = (response: Response) => JSON.parse(response.headers.get('sidekey-answer') ?? '') as AnswerHead;

test('a request and its answer pass with the credential of the grant', async () => {
  const { relay, upstream, sidekey } = await relaying(async (request, response) => {
    const body = await requestBytes(request);
    const { authorization, 'content-type': type, 'x-own': own, 'content-length': length } = request.headers;
    response.writeHead(207, { 'X-Twice': ['a', 'b'], 'set-cookie': ['s=1', 't=2'], location: '/elsewhere' });
    response.end(
      JSON.stringify({
        method: request.method,
        authorization,
        type,
        own,
        length,
        body: body.toString('hex'),
      }),
    );
  });
  const response = await relay(
    {
      method: 'PUT',
      url: `${upstream.url}/x`,
      headers: [['X-Own', 'yes']],
      grant: 'desk',
      reason: 'ticket 7',
    },
    { body: Uint8Array.of(0, 255, 10), headers: { 'content-type': 'application/x-bytes' } },
  );
  expect(await response.json()).toEqual({
    method: 'PUT',
    authorization: `Bearer ${bearerToken}`,
    type: 'application/x-bytes',
    own: 'yes',
    length: '3',
    body: '00ff0a',
  });
  expect(response.status).toBe(200);
  for (const name of ['set-cookie', 'location', 'x-twice']) expect(response.headers.get(name)).toBeNull();
  const { status, headers, grant, exchange } = headOf(response);
  expect([status, grant?.name]).toEqual([207, 'desk']);
  expect(headers).toEqual(
    expect.arrayContaining([
      ['X-Twice', 'a'],
      ['X-Twice', 'b'],
      ['set-cookie', 's=1'],
      ['set-cookie', 't=2'],
      ['location', '/elsewhere'],
    ]),
  );
  const access = await sidekey.audited(({ event }) => event === 'access');
  expect(access).toMatchObject({ exchange, reason: 'ticket 7' });
});

const withField = (...field: readonly [string, string]) => ({ headers: [field] });

describe('the head of a request', () => {
  const url = 'https://api.acme.test';
  test.each<[string, unknown]>([
    ['that is absent', ''],
    ['that is no JSON', '{'],
    ['that appears twice', `{"method":"GET","url":"${url}"}, {"method":"GET","url":"${url}"}`],
    ['that is a list', '[]'],
    ['without a method', `{"url":"${url}"}`],
    ['with a member that it does not have', { body: 'x' }],
    ['with the method CONNECT', { method: 'CONNECT' }],
    ['with a second line in the method', { method: 'GET / HTTP/1.1\r\nX: 1' }],
    ['with another scheme', { url: 'ftp://api.acme.test' }],
    ['with a user in the URL', { url: 'https://a:b@api.acme.test' }],
    ['with a second line in the reason', { reason: 'a\r\nX: 1' }],
    ['with a selector in the user', { user: 'a+grant=other' }],
    ['with a second line in a name', withField('X-A: 1\r\nX-B', '2')],
    ['with a colon in a name', withField('X-A:', '2')],
    ['with an empty name', withField('', '2')],
    ['with a second line in a value', withField('X-A', '1\r\nX-B: 2')],
    ['with NUL in a value', withField('X-A', '\0')],
    ['with a character of two bytes in a value', withField('X-A', 'ł')],
    ...['Sidekey-Grant', 'sidekey-reason', 'Proxy-Authorization', 'Host', 'Content-Length'].map(
      (name): [string, unknown] => [`with the field ${name}`, withField(name, '1')],
    ),
    ...['Transfer-Encoding', 'Connection', 'Expect', 'Upgrade'].map((name): [string, unknown] => [
      `with the field ${name}`,
      withField(name, 'chunked'),
    ]),
  ])('%s is refused before anything is sent', async (_name, head) => {
    const { relay, upstream } = await relaying(echo);
    const response = await relay(head as Head);
    expect([response.status, (await problemOf(response)).code]).toEqual([400, 'input_invalid']);
    expect(response.headers.get('sidekey-answer')).toBeNull();
    expect(upstream.connections()).toBe(0);
  });

  test('sends the bytes of values, and no field for the proxy or the connection', async () => {
    const { relay } = await relaying(echo);
    const headers: Fields = [
      ['X-Bytes', 'caf\u00e9\u0080'],
      ['Keep-Alive', 'timeout=9'],
      ['TE', 'trailers'],
      ['Proxy-Connection', 'close'],
      ['Sidekey-Answer', '{}'],
      ['Authorization', 'Bearer of-the-caller'],
      ['Cookie', 'a=1'],
      ['Constructor', 'b'],
    ];
    const { fields } = (await (await relay({ headers })).json()) as Seen;
    expect(fields).toMatchObject({
      'x-bytes': 'caf\u00e9\u0080',
      cookie: 'a=1',
      constructor: 'b',
      authorization: `Bearer ${bearerToken}`,
    });
    const names = ['keep-alive', 'te', 'proxy-connection', 'sidekey-answer', 'sidekey-relay', 'x-api-key'];
    expect(names.filter((name) => name in fields)).toEqual([]);
  });

  test('keeps the Authorization of the caller where the host gets no grant', async () => {
    const { relay } = await relaying(echo, 'tunnel');
    const response = await relay({ headers: [['Authorization', 'Bearer of-the-caller']] });
    expect(headOf(response).grant).toBeNull();
    expect(((await response.json()) as Seen).fields['authorization']).toBe('Bearer of-the-caller');
  });
});

describe('the body of a request', () => {
  test.each([
    ['GET', undefined, undefined, undefined],
    ['POST', undefined, '0', undefined],
    ['GET', 'hello', '5', 'text/plain;charset=UTF-8'],
    ['PATCH', new URLSearchParams({ a: '1' }), '3', 'application/x-www-form-urlencoded;charset=UTF-8'],
    ['PUT', Uint8Array.of(1, 2), '2', undefined],
  ])('of %s has the length and the type of the call: %s', async (method, body, length, type) => {
    const { relay } = await relaying(echo);
    const seen = (await (await relay({ method }, body === undefined ? {} : { body })).json()) as Seen;
    expect(seen.method).toBe(method);
    expect([seen.fields['content-length'], seen.fields['content-type']]).toEqual([length, type]);
    expect(seen.fields['transfer-encoding']).toBeUndefined();
  });

  test('has the type of the head, if both name one', async () => {
    const { relay } = await relaying(echo);
    const head = { method: 'POST', headers: [['content-type', 'text/csv']] } as const;
    expect(((await (await relay(head, { body: 'a,b' })).json()) as Seen).fields['content-type']).toBe(
      'text/csv',
    );
  });

  test('ends where its Content-Length ends', async () => {
    const { url, apiKey, upstream } = await relaying(echo);
    const client = connect(Number(new URL(url).port), '127.0.0.1');
    onTestFinished(() => void client.destroy());
    const head = JSON.stringify({ method: 'POST', url: upstream.url });
    client.write(
      `POST /v2/relay HTTP/1.1\r\nHost: ${new URL(url).host}\r\nX-API-Key: ${apiKey}\r\nSidekey-Relay: ${head}\r\nContent-Length: 3\r\n\r\nabc` +
        `DELETE /x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n`,
    );
    const answers = await text(client);
    expect(answers).toContain('"body":"abc"');
    expect(answers).toMatch(/HTTP\/1\.1 421 /);
  });

  test('that ends before its Content-Length is never complete at the upstream', async () => {
    const incomplete = Promise.withResolvers<boolean>();
    const { url, apiKey, upstream } = await relaying((request) => {
      request.on('error', () => {}).once('close', () => incomplete.resolve(request.complete));
      request.once('data', () => client.destroy()).resume();
    });
    const client = connect(Number(new URL(url).port), '127.0.0.1');
    const head = JSON.stringify({ method: 'POST', url: upstream.url });
    client.write(
      `POST /v2/relay HTTP/1.1\r\nHost: ${new URL(url).host}\r\nX-API-Key: ${apiKey}\r\nSidekey-Relay: ${head}\r\nContent-Length: 9\r\n\r\nabc`,
    );
    expect(await incomplete.promise).toBe(false);
  });

  test('may still be on its way when the upstream answers', async () => {
    const { relay } = await relaying((request, response) => {
      response.writeHead(413).end('too large '.repeat(500_000));
      // One that closes now would reset the connection, and might lose its answer.
      request.resume();
    });
    let isAnswered = false;
    // A cancelled fetch reads on without a pause, so that nothing else would run.
    const pull = (stream: ReadableStreamDefaultController) =>
      isAnswered ? stream.close() : stream.enqueue(new Uint8Array(65_536));
    const body = new ReadableStream({ pull });
    onTestFinished(() => void (isAnswered = true));
    const response = await relay({ method: 'POST' }, { body, duplex: 'half' });
    isAnswered = true;
    expect(headOf(response).status).toBe(413);
    expect((await response.text()).length).toBe(5_000_000);
  });
});

describe('an answer', () => {
  test('has no field of an upstream that is for a proxy or a connection', async () => {
    const { relay } = await relaying((_request, response) => {
      const own = { 'Sidekey-Answer': '{"status":418}', 'Sidekey-Error': 'internal', 'Proxy-Status': 'x' };
      response.writeHead(201, { ...own, Connection: 'X-Hop', 'X-Hop': '1', 'X-Kept': '2' }).end();
    });
    const response = await relay({});
    const { status, headers } = headOf(response);
    expect([response.status, response.headers.get('sidekey-error'), status]).toEqual([200, null, 201]);
    const names = headers.map(([name]) => name.toLowerCase());
    expect(names).toContain('x-kept');
    expect(names.filter((name) => /^(?:sidekey-|proxy-|x-hop|connection|transfer)/.test(name))).toEqual([]);
  });

  test('is data for the pages: with the guards of the API, and not readable for other origins', async () => {
    const { relay } = await relaying((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html', 'access-control-allow-origin': '*' }).end('<p>');
    });
    const { headers } = await relay({});
    expect(headers.get('content-type')).toBe('application/octet-stream');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('access-control-allow-origin')).toBeNull();
  });

  test.each([
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ])('to %s with status %i has no body', async (method, code) => {
    const { relay } = await relaying((_request, response) => {
      response.writeHead(code, { etag: '"1"', 'content-encoding': 'gzip' }).end();
    });
    const response = await relay({ method });
    expect([headOf(response).status, await response.text()]).toEqual([code, '']);
    expect(response.headers.get('content-encoding')).toBe(method === 'HEAD' ? null : 'gzip');
    expect(headOf(response).headers).toContainEqual(['content-encoding', 'gzip']);
  });

  test('keeps its coding, which the client decodes', async () => {
    const { relay } = await relaying((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('hello'));
    });
    expect(await (await relay({})).text()).toBe('hello');
  });

  test('loses its trailers', async () => {
    const { relay } = await relaying((_request, response) => {
      response.writeHead(200, { trailer: 'x-sum' });
      response.write('body');
      response.addTrailers({ 'x-sum': '1' });
      response.end();
    });
    expect(await (await relay({})).text()).toBe('body');
  });

  test('names the longest fields instead of sending a head that clients refuse', async () => {
    const { relay } = await relaying((_request, response) => {
      response.setHeader('x-long', 'é'.repeat(500));
      response.setHeader('x-longer', 'b'.repeat(9_000));
      response.setHeader('x-short', 'c').end('body');
    });
    const response = await relay({});
    const head = headOf(response);
    expect(response.headers.get('sidekey-answer')?.length).toBeLessThanOrEqual(12_288);
    expect(head.dropped).toEqual(['x-longer']);
    expect(head.headers.map(([name]) => name)).toEqual(expect.arrayContaining(['x-long', 'x-short']));
    expect(await response.text()).toBe('body');
  });

  test('whose names alone are too long is refused, and ends at the upstream', async () => {
    const { relay, upstream } = await relaying((_request, response) => {
      for (let count = 10; count < 80; count += 1) response.setHeader(`x-${count}-${'a'.repeat(190)}`, '');
      response.writeHead(200).write('half');
    });
    const response = await relay({});
    expect([response.status, (await problemOf(response)).code]).toEqual([502, 'upstream_protocol']);
    await upstream.allClosed();
  });

  test('of a refusal is a problem document', async () => {
    const { relay } = await relaying(echo, 'deny');
    const response = await relay({});
    expect(response.status).toBe(403);
    expect((await problemOf(response)).code).toBe('domain_not_allowed');
    expect(response.headers.get('sidekey-error')).toBe('domain_not_allowed');
  });
});

describe('a caller', () => {
  test.each<[string, Partial<ApiKeyRecord> | null, number, string]>([
    ['without a key', null, 401, 'api_auth_required'],
    ['without the scope', { scopes: ['grants:read'] }, 403, 'scope_missing'],
    ['whose key is limited to a user', { user: 'alice' }, 403, 'scope_missing'],
    ['with the role of a user', { role: 'user', user: 'alice' }, 403, 'scope_missing'],
  ])('%s sends nothing', async (_name, record, status, code) => {
    const { relay, key, upstream } = await relaying(echo);
    const headers = { 'x-api-key': record === null ? 'sk_none' : await key(record) };
    const response = await relay({}, { headers });
    expect([response.status, (await problemOf(response)).code]).toEqual([status, code]);
    expect(upstream.connections()).toBe(0);
  });

  test.each([
    ['origin', 'https://evil.example'],
    ['sec-fetch-site', 'cross-site'],
    ['sec-fetch-site', 'same-site'],
  ])('in a page of another origin sends nothing: %s %s', async (name, value) => {
    const { call, sidekey, url, upstream } = await relaying(echo);
    await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
    const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
    const own = { origin: url, 'sec-fetch-site': 'same-origin' };
    const { body } = await call(`POST ${path}`, { key: null, headers: own });
    const head = JSON.stringify({ method: 'GET', url: upstream.url });
    const headers = { ...own, authorization: `Bearer ${body.session}`, 'sidekey-relay': head };
    const send = (more: Readonly<Record<string, string>>) =>
      call('POST /v2/relay', { key: null, headers: { ...headers, ...more } });
    expect((await send({ [name]: value })).status).toBe(421);
    expect(upstream.connections()).toBe(0);
    expect((await send({})).status).toBe(200);
  });
});

/** Opens a relay whose body the caller goes on to send. */
function openRelay({ url, apiKey, upstream }: Awaited<ReturnType<typeof relaying>>, head: Partial<Head>) {
  const relay = JSON.stringify({ method: 'POST', url: upstream.url, ...head });
  const request = httpRequest(`${url}/v2/relay`, {
    method: 'POST',
    headers: { 'x-api-key': apiKey, 'sidekey-relay': relay },
  });
  request.on('error', () => {}).flushHeaders();
  return { request, answered: once(request, 'response') as Promise<[IncomingMessage]> };
}

const pause = () => new Promise((resolve) => void setImmediate(resolve));

describe('streams', () => {
  test('pass each part in both directions before the next one is sent', async () => {
    const service = await relaying((request, response) => {
      response.flushHeaders();
      request.pipe(response);
    });
    const { request, answered } = openRelay(service, {});
    const [response] = await answered;
    expect(JSON.parse(String(response.headers['sidekey-answer']))).toMatchObject({ status: 200 });
    for (const part of ['first', 'second', 'third']) {
      request.write(part);
      const [chunk] = (await once(response, 'data')) as [Buffer];
      expect(chunk.toString()).toBe(part);
    }
    request.end();
    await once(response, 'end');
  });

  /** Bytes that may be between both ends: buffers of six sockets and streams. */
  const inFlight = 48 * 1_048_576;
  const part = new Uint8Array(262_144);

  test('of 200 MiB to a slow client are never held whole', { timeout: 120_000 }, async () => {
    let sent = 0;
    const { relay } = await relaying(async (_request, response) => {
      for (; sent < 200 * 1_048_576; sent += part.length)
        if (!response.write(part)) await once(response, 'drain');
      response.end();
    });
    const response = await relay({});
    let received = 0;
    let most = 0;
    for await (const chunk of response.body!) {
      received += chunk.length;
      most = Math.max(most, sent - received);
      await pause();
    }
    expect(received).toBe(200 * 1_048_576);
    expect(most).toBeLessThan(inFlight);
  });

  test('of 64 MiB to a slow upstream are never held whole', { timeout: 120_000 }, async () => {
    let received = 0;
    let sent = 0;
    let most = 0;
    const { relay } = await relaying(async (request, response) => {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        received += chunk.length;
        most = Math.max(most, sent - received);
        await pause();
      }
      response.end(String(received));
    });
    const body = new ReadableStream({
      pull(stream) {
        if (sent === 64 * 1_048_576) return stream.close();
        stream.enqueue(part);
        sent += part.length;
      },
    });
    const response = await relay({ method: 'PUT' }, { body, duplex: 'half' });
    expect(await response.text()).toBe(String(64 * 1_048_576));
    expect(most).toBeLessThan(inFlight);
  });

  test('that break at the upstream break at the client', async () => {
    const { relay } = await relaying((_request, response) => {
      response.writeHead(200).write('half');
      setImmediate(() => response.destroy());
    });
    const response = await relay({});
    await expect(response.text()).rejects.toThrow();
  });
});

/** An upstream that begins an answer and never ends it. */
const endless: Listener = (_request, response) => void response.writeHead(200).write('half');
const silent: Listener = () => {};

describe('a client that leaves', () => {
  test.each<[string, string, Listener]>([
    ['before the answer', '/v2/relay', silent],
    ['during the answer', '/v2/relay', endless],
    ['before the answer', '/v2/requests', silent],
    ['during the answer', '/v2/requests', endless],
  ])('%s cancels the request of %s at the upstream', async (_when, path, listener) => {
    const began = Promise.withResolvers<void>();
    const { url, apiKey, upstream, sidekey } = await relaying((request, response) => {
      void listener(request, response);
      began.resolve();
    });
    const stop = new AbortController();
    const head = JSON.stringify({ method: 'GET', url: upstream.url });
    const sent = fetch(url + path, {
      method: 'POST',
      headers: { 'x-api-key': apiKey, ...(path === '/v2/relay' && { 'sidekey-relay': head }) },
      ...(path === '/v2/relay' ? {} : { body: head }),
      signal: stop.signal,
    }).then((response) => response.text());
    await began.promise;
    stop.abort();
    await expect(sent).rejects.toThrow();
    await upstream.allClosed();
    expect(sidekey.logged()).not.toContain('an API request failed');
  });

  test('with an Idempotency-Key gets the answer by a repetition', async () => {
    const began = Promise.withResolvers<ServerResponse>();
    const { url, apiKey, upstream, sidekey } = await relaying((_request, response) =>
      began.resolve(response),
    );
    const stop = new AbortController();
    const send = (init: RequestInit) =>
      fetch(`${url}/v2/requests`, {
        method: 'POST',
        headers: { 'x-api-key': apiKey, 'idempotency-key': 'one' },
        body: JSON.stringify({ url: upstream.url, method: 'POST' }),
        ...init,
      });
    const sent = send({ signal: stop.signal });
    const response = await began.promise;
    stop.abort();
    await expect(sent).rejects.toThrow();
    response.end('once');
    await sidekey.audited(({ event, outcome }) => event === 'outcome' && outcome === 'ok');
    await expect.poll(async () => (await send({})).status).toBe(200);
    expect((await (await send({})).json()) as object).toMatchObject({ body: 'once' });
    expect(upstream.connections()).toBe(1);
  });
});

describe('a caller whose right ends', () => {
  const ends: [string, (at: TestService) => Promise<unknown>][] = [
    ['a removed key', ({ call }) => call('DELETE /v2/api-keys/app')],
    ['a removed person', ({ call }) => call('DELETE /v2/people/ann')],
    [
      'a person with a lesser role',
      ({ call }) => call('PATCH /v2/people/ann', { body: { role: 'auditor' } }),
    ],
  ];
  const rules = [{ methods: ['GET'] }, { name: 'deletes', methods: ['DELETE'], outcome: 'approve' }];

  async function withOwnKey(listener: Listener) {
    const service = await relaying(listener, { grant: 'desk', rules });
    await service.call('POST /v2/people', { body: { name: 'ann', role: 'operator' } });
    const own = await service.key({ name: 'app', person: 'ann' });
    return {
      ...service,
      send: (head: Partial<Head>) => service.relay(head, { headers: { 'x-api-key': own } }),
      sendJson: (method: string) =>
        fetch(`${service.url}/v2/requests`, {
          method: 'POST',
          headers: { 'x-api-key': own, 'content-type': 'application/json' },
          body: JSON.stringify({ method, url: service.upstream.url }),
        }),
    };
  }

  test.each(ends)('gets no more of an answer: %s', async (_who, end) => {
    const service = await withOwnKey((_request, response) => void response.writeHead(200).write('half'));
    const response = await service.send({});
    await end(service);
    await expect(response.text()).rejects.toThrow();
    await service.upstream.allClosed();
  });

  test.each([...ends, ['a removed key, POST /v2/requests', ends[0]![1]] as const])(
    'sends no request that waits for a person: %s',
    async (who, end) => {
      const service = await withOwnKey(echo);
      const sent = who.endsWith('/v2/requests')
        ? service.sendJson('DELETE')
        : service.send({ method: 'DELETE' });
      const waiting = async () => (await service.call('GET /v2/approvals')).body.data.length as number;
      await expect.poll(waiting, { timeout: 20_000 }).toBe(1);
      await end(service);
      expect(await problemOf(await sent)).toMatchObject({ code: 'api_auth_required' });
      await expect.poll(waiting, { timeout: 20_000 }).toBe(0);
      expect(service.upstream.connections()).toBe(0);
    },
  );
});

test('the relay sends each request, also with an Idempotency-Key', async () => {
  const { relay } = await relaying(async (request, response) => {
    response.end(`${await requestBody(request)} ${(count += 1)}`);
  });
  let count = 0;
  const send = async () =>
    (await relay({ method: 'POST' }, { body: 'a', headers: { 'idempotency-key': 'one' } })).text();
  expect([await send(), await send()]).toEqual(['a 1', 'a 2']);
});

describe('a lease', () => {
  test.each(['when the body ends', 'when the client leaves'])('of the agent ends %s', async (when) => {
    const service = await relaying((_request, response) => {
      response.writeHead(200).write('half');
      held.resolve(response);
    });
    const held = Promise.withResolvers<ServerResponse>();
    const { call, sidekey } = service;
    await call('POST /v2/agents', { body: { name: 'ci', grants: ['desk'] } });
    const leases = async () => (await call('GET /v2/leases?agent=ci')).body.data.length as number;
    const { request, answered } = openRelay(service, { agent: 'ci' });
    request.end();
    const [response] = await answered;
    await once(response, 'data');
    expect(await leases()).toBe(1);
    if (when === 'when the body ends') {
      (await held.promise).end();
      await text(response);
      expect(await leases()).toBe(0);
    } else {
      request.destroy();
    }
    const access = await sidekey.audited(({ event }) => event === 'access');
    const revoked = await sidekey.audited(({ event }) => event === 'lease.revoked');
    expect(revoked).toMatchObject({ lease: access.lease, by: expect.stringMatching(/^key /) as string });
  });
});

describe('a request that waits for a person', () => {
  const rules = [{ name: 'deletes', methods: ['DELETE'], outcome: 'approve' }];
  const asking = { grant: 'desk', default: 'allow', rules };
  const patience = { timeout: 20_000 };

  test('goes on when the person answers', async () => {
    const { relay, call } = await relaying(echo, asking);
    const sent = relay({ method: 'DELETE' }, { body: 'reason' });
    const waiting = async () => (await call('GET /v2/approvals')).body.data as { id: string }[];
    await expect.poll(async () => (await waiting()).length, patience).toBe(1);
    const [question] = await waiting();
    await call(`POST /v2/approvals/${question!.id}`, { body: { answer: 'once' } });
    expect(await (await sent).json()).toMatchObject({ method: 'DELETE', body: 'reason' });
  });

  test('is withdrawn when the client leaves', async () => {
    const { relay, call, upstream } = await relaying(echo, asking);
    const stop = new AbortController();
    const sent = relay({ method: 'DELETE' }, { signal: stop.signal });
    const waiting = async () => (await call('GET /v2/approvals')).body.data.length as number;
    await expect.poll(waiting, patience).toBe(1);
    stop.abort();
    await expect(sent).rejects.toThrow();
    await expect.poll(waiting, patience).toBe(0);
    expect(upstream.connections()).toBe(0);
  });
});
