/** Bodies of requests and answers that pass through `@sidekey/client`, byte by byte. */
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { createClient, errors } from '../../../src/sdk/client/client.ts';
import { bearerToken } from '../../support/sidekey.ts';
import { startService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';
import { requestBytes } from '../../support/request-body.ts';

type Listener = (...parts: Parameters<RequestListener>) => unknown;

async function withClient(listener: Listener, domain: object = { grant: 'desk' }) {
  const upstream = await startUpstream((...parts) => void listener(...parts));
  const service = await startService({ domains: { [upstream.authority]: domain } });
  await service.sidekey.grant([upstream.authority], { name: 'desk' });
  const client = createClient({ baseUrl: service.url, apiKey: await service.key() });
  return { ...service, upstream, client, fetch: client.fetch({ grant: 'desk' }) };
}

/** Upstream whose answer is what it received. */
async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await requestBytes(request);
  const { method, headers } = request;
  response.end(JSON.stringify({ method, headers, hex: body.toString('hex') }));
}

interface Echoed {
  readonly method: string;
  readonly headers: IncomingMessage['headers'];
  readonly hex: string;
}

const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);

async function* parts() {
  yield 'é';
  yield bytes;
}

async function* failing() {
  yield 'a';
  throw new RangeError('no such file');
}

const textType = 'text/plain;charset=UTF-8';
const allBytes = Buffer.from(bytes);

/** Bodies, with the bytes, the content type and the length at the upstream; undefined: none. */
const bodies: readonly (readonly [
  name: string,
  body: () => NonNullable<RequestInit['body']> | object,
  bytes: Buffer,
  type: string | undefined,
  length: number | undefined,
])[] = [
  ['a string', () => 'é\n', Buffer.from('é\n'), textType, 3],
  ['a Uint8Array', () => bytes, allBytes, undefined, 256],
  ['a part of a buffer', () => bytes.subarray(3, 5), Buffer.of(3, 4), undefined, 2],
  ['a DataView', () => new DataView(bytes.buffer, 250), allBytes.subarray(250), undefined, 6],
  ['an ArrayBuffer', () => bytes.slice().buffer, allBytes, undefined, 256],
  ['a Buffer of Node.js', () => Buffer.from([0, 255]), Buffer.of(0, 255), undefined, 2],
  ['a Blob', () => new Blob([bytes], { type: 'image/png' }), allBytes, 'image/png', 256],
  ['a File', () => new File([bytes], 'a.bin'), allBytes, undefined, 256],
  [
    'a URLSearchParams',
    () => new URLSearchParams({ a: 'ü &' }),
    Buffer.from('a=%C3%BC+%26'),
    'application/x-www-form-urlencoded;charset=UTF-8',
    12,
  ],
  ['a ReadableStream', () => new Blob([bytes]).stream(), allBytes, undefined, undefined],
  ['an async iterable', parts, Buffer.concat([Buffer.from('é'), allBytes]), undefined, undefined],
  ['a stream of Node.js', () => Readable.from([allBytes]), allBytes, undefined, undefined],
  ['an object', () => ({ a: ['é', null] }), Buffer.from('{"a":["é",null]}'), 'application/json', 17],
  ['an array', () => [1, { b: true }], Buffer.from('[1,{"b":true}]'), 'application/json', 14],
  [
    'a value with toJSON',
    () => new Date(0),
    Buffer.from('"1970-01-01T00:00:00.000Z"'),
    'application/json',
    26,
  ],
];

describe('the body of a request', () => {
  test('of each kind reaches the upstream byte by byte, with its type and length', async () => {
    const { client, fetch, upstream } = await withClient(echo);
    for (const [name, body, sent, type, length] of bodies) {
      const options = { body: body() as RequestInit['body'] };
      for (const response of [
        await client.request('PUT', upstream.url, options),
        await fetch(upstream.url, { method: 'put', body: body() as NonNullable<RequestInit['body']> }),
      ]) {
        const { method, headers, hex } = (await response.json()) as Echoed;
        expect([method, hex], name).toEqual(['PUT', sent.toString('hex')]);
        expect(headers['content-type'], name).toBe(type);
        expect(headers['content-length'], name).toBe(length === undefined ? undefined : String(length));
        expect(headers.authorization).toBe(`Bearer ${bearerToken}`);
      }
    }
  });

  test('of a form has the boundary of its content type, and each file', async () => {
    const { fetch, upstream } = await withClient(echo);
    const form = new FormData();
    form.append('purpose', 'ä');
    form.append('file', new File([bytes], 'ü.bin', { type: 'application/x-own' }));
    const { headers, hex } = (await (
      await fetch(upstream.url, { method: 'POST', body: form })
    ).json()) as Echoed;
    const received = await new Response(Buffer.from(hex, 'hex'), {
      headers: { 'content-type': headers['content-type'] ?? '' },
    }).formData();
    const file = received.get('file') as File;
    expect([received.get('purpose'), file.name, file.type]).toEqual(['ä', 'ü.bin', 'application/x-own']);
    expect(new Uint8Array(await file.arrayBuffer())).toEqual(bytes);
    expect(headers['content-length']).toBe(String(hex.length / 2));
  });

  test('is that of a Request, with its method and fields, unless the second argument has others', async () => {
    const { fetch, upstream } = await withClient(echo);
    const request = () =>
      new Request(upstream.url, {
        method: 'PATCH',
        body: bytes,
        headers: { 'x-own': 'a', 'content-type': 'a/b' },
      });
    const whole = (await (await fetch(request())).json()) as Echoed;
    expect(whole).toMatchObject({
      method: 'PATCH',
      headers: { 'x-own': 'a', 'content-type': 'a/b', 'content-length': '256' },
      hex: allBytes.toString('hex'),
    });
    const other = (await (
      await fetch(request(), { method: 'POST', body: 'b', headers: [['x-own', 'b']] })
    ).json()) as Echoed;
    expect(other).toMatchObject({
      method: 'POST',
      headers: { 'x-own': 'b', 'content-type': textType },
      hex: '62',
    });
    const read = (await (await fetch(new URL(upstream.url))).json()) as Echoed;
    expect([read.method, read.hex, read.headers['content-type']]).toEqual(['GET', '', undefined]);
  });

  test('keeps the type that the caller gives, and repeated fields', async () => {
    const { client, upstream } = await withClient(echo);
    const headers = [
      ['Content-Type', 'application/merge-patch+json'],
      ['X-Own', 'a'],
      ['X-Own', 'b'],
      ['Content-Length', '99'],
    ] as [string, string][];
    for (const given of [headers, new Headers(headers)]) {
      const response = await client.request('PATCH', upstream.url, { headers: given, body: { a: null } });
      const received = ((await response.json()) as Echoed).headers;
      expect(received).toMatchObject({
        'content-type': 'application/merge-patch+json',
        'x-own': 'a, b',
        'content-length': '10',
      });
    }
  });

  test('with a part that JSON would lose is a TypeError, and nothing is sent', async () => {
    const { client, fetch, upstream } = await withClient(echo);
    class Own {
      readonly a = 1;
    }
    const lost = [
      new Map([['a', 1]]),
      new Own(),
      { a: new Set([1]) },
      [new Own()],
      { a: () => 1 },
      Symbol.iterator,
    ];
    for (const body of lost) {
      const sentence =
        /^A body cannot contain a (?:Map|Set|Own|function|symbol): give a plain object, or encode it first\.$/;
      await expect(client.request('POST', upstream.url, { body: body as object })).rejects.toThrow(sentence);
      await expect(fetch(upstream.url, { method: 'POST', body: body as never })).rejects.toThrow(TypeError);
    }
    expect(upstream.connections()).toBe(0);
  });

  test('that cannot be read fails with its own error', async () => {
    const { client, fetch, upstream } = await withClient(echo);
    for (const [body, problem] of [
      [failing, 'no such file'],
      [() => ReadableStream.from(failing()), 'no such file'],
      [() => Readable.from([7]), 'other than bytes and text'],
    ] as const) {
      await expect(client.request('PUT', upstream.url, { body: body() })).rejects.toThrow(problem);
      const init = { method: 'PUT', body: body() as ReadableStream };
      await expect(fetch(upstream.url, init)).rejects.toThrow(problem);
    }
  });

  test('of 64 MiB is read from its stream no faster than the upstream takes it', async () => {
    const arrived = Promise.withResolvers<IncomingMessage>();
    const { client, upstream } = await withClient((request, response) => {
      arrived.resolve(request);
      request.once('end', () => response.end());
    });
    const mib = new Uint8Array(1_048_576);
    let made = 0;
    async function* source() {
      for (; made < 64; made += 1) yield mib;
    }
    const answered = client.request('POST', upstream.url, { body: source() });
    const request = await arrived.promise;
    let received = 0;
    let most = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      received += chunk.length;
      most = Math.max(most, made * mib.length - received);
    }
    expect(received).toBe(64 * mib.length);
    // Sockets and pipes between the client and the upstream keep some of it.
    expect(most).toBeLessThan(24 * mib.length);
    expect((await answered).status).toBe(200);
  });
});

describe('an answer', () => {
  test('is decoded, and has no length that is false', async () => {
    const text = 'é'.repeat(10_000);
    const { client, upstream } = await withClient((request, response) => {
      const encoding = request.headers['accept-encoding'] === 'br' ? 'br' : 'gzip';
      const body = encoding === 'br' ? brotliCompressSync(text) : gzipSync(text);
      response.writeHead(200, { 'content-encoding': encoding, 'content-length': body.length, 'x-own': 'a' });
      response.end(request.method === 'HEAD' ? undefined : body);
    });
    for (const headers of [{}, { 'accept-encoding': 'br' }]) {
      const response = await client.request('GET', upstream.url, { headers });
      expect(await response.text()).toBe(text);
      for (const name of ['content-encoding', 'content-length'])
        expect(response.headers.get(name)).toBeNull();
      expect(response.headers.get('x-own')).toBe('a');
    }
    expect(await (await client.request('HEAD', upstream.url)).text()).toBe('');
  });

  test('keeps its status, fields, cookies and address', async () => {
    const { client, upstream } = await withClient((request, response) => {
      const status = Number(request.url?.slice(1));
      response
        .writeHead(status, { 'set-cookie': ['a=1', 'b=2'], 'x-own': 'é', link: '<a>; rel="next"' })
        .end();
    });
    for (const status of [200, 201, 204, 205, 304, 401, 404, 500, 599]) {
      const url = `${upstream.url}/${status}`;
      const response = await client.request('GET', url);
      expect([response.status, response.url, response.redirected]).toEqual([status, url, false]);
      expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
      expect(response.headers.get('link')).toBe('<a>; rel="next"');
      expect(response.headers.get('sidekey-error')).toBeNull();
      expect(await response.text()).toBe('');
    }
  });

  test('of 200 MiB is read from the upstream no faster than the program reads it', async () => {
    const mib = Buffer.alloc(1_048_576);
    let sent = 0;
    const send = async (response: ServerResponse) => {
      for (; sent < 200; sent += 1) if (!response.write(mib)) await once(response, 'drain');
      response.end();
    };
    const { client, upstream } = await withClient((_request, response) => void send(response));
    const response = await client.request('GET', upstream.url);
    let received = 0;
    let most = 0;
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      received += chunk.length;
      most = Math.max(most, sent * mib.length - received);
    }
    expect(received).toBe(200 * mib.length);
    expect(most).toBeLessThan(24 * mib.length);
  });

  test('streams while the request does', async () => {
    const { fetch, upstream } = await withClient((request, response) => {
      response.flushHeaders();
      request.pipe(response);
    });
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    // `fetch` of Node.js sends the head with the first part.
    void writer.write(Uint8Array.of(0));
    const response = await fetch(upstream.url, {
      method: 'POST',
      body: readable,
      duplex: 'half',
    });
    const reader = response.body!.getReader();
    for (const each of [0, 1, 2]) {
      if (each > 0) void writer.write(Uint8Array.of(each));
      expect((await reader.read()).value).toEqual(Uint8Array.of(each));
    }
    void writer.close();
    expect((await reader.read()).done).toBe(true);
  });

  test('is kept until it is read, although nothing else refers to the response of the API', async () => {
    const { client, upstream } = await withClient((_request, response) => response.end('a'));
    const responses = await Promise.all(
      Array.from({ length: 20 }, () => client.request('GET', upstream.url)),
    );
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    for (let turn = 0; turn < 10; turn += 1) {
      collect();
      await setImmediate();
    }
    expect(await Promise.all(responses.map((response) => response.text()))).toEqual(Array(20).fill('a'));
  });

  test('that ends too early is an error', async () => {
    const { client, upstream } = await withClient((_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('a', () => response.destroy());
    });
    await expect(client.request('GET', upstream.url).then((response) => response.text())).rejects.toThrow();
  });

  test('without the head of an upstream is unexpected', async () => {
    const client = createClient({ apiKey: 'k', fetch: async () => new Response('<html>') });
    await expect(client.request('GET', 'https://x.example/')).rejects.toThrow(errors.UnexpectedAnswerError);
  });
});

describe('the caller', () => {
  test('ends the request at the upstream by its signal, before and after the head', async () => {
    const arrived: (() => void)[] = [];
    const ended: Promise<unknown>[] = [];
    const { client, fetch, upstream } = await withClient((request, response) => {
      ended.push(once(response, 'close'));
      if (request.url === '/body') response.write('a');
      arrived.shift()?.();
    });
    for (const call of [
      (signal: AbortSignal) => client.request('GET', `${upstream.url}/head`, { signal }),
      (signal: AbortSignal) => fetch(`${upstream.url}/head`, { signal }),
      (signal: AbortSignal) => fetch(new Request(`${upstream.url}/head`, { signal })),
    ]) {
      const stop = new AbortController();
      arrived.push(() => stop.abort(new Error('enough')));
      await expect(call(stop.signal)).rejects.toThrow('enough');
    }
    const stop = new AbortController();
    const response = await client.request('GET', `${upstream.url}/body`, { signal: stop.signal });
    const reader = response.body!.getReader();
    expect((await reader.read()).value).toEqual(Uint8Array.of(97));
    stop.abort(new Error('enough'));
    await expect(reader.read()).rejects.toThrow('enough');
    expect(ended).toHaveLength(4);
    await Promise.all(ended);
  });

  test('that cancels the body ends the request at the upstream', async () => {
    const ended = Promise.withResolvers<void>();
    const { client, upstream } = await withClient((_request, response) => {
      response.once('close', () => ended.resolve());
      response.write('a');
    });
    await (await client.request('GET', upstream.url)).body!.cancel();
    await ended.promise;
  });

  test('gets an error if no head arrives in time, with request and with fetch', async () => {
    const { client, upstream, url, key } = await withClient(() => {});
    const late = client.request('GET', upstream.url, { timeoutMs: 50 });
    await expect(late).rejects.toThrow(errors.TimeoutError);
    await expect(client.fetch({ timeoutMs: 50 })(upstream.url)).rejects.toThrow(errors.TimeoutError);
    const hasty = createClient({ baseUrl: url, apiKey: await key(), timeoutMs: 50 });
    await expect(hasty.request('GET', upstream.url)).rejects.toThrow(errors.TimeoutError);
  });

  test('follows redirects through Sidekey, or gets them', async () => {
    const seen: (readonly [string, string | undefined])[] = [];
    const other = await startUpstream((request, response) => {
      seen.push([request.url ?? '', request.headers.authorization]);
      response.end(request.headers['x-own'] ?? 'none');
    });
    const { client, fetch, upstream, sidekey } = await withClient((request, response) => {
      seen.push([request.url ?? '', request.headers.authorization]);
      if (request.url === '/loop') return void response.writeHead(302, { location: '/loop' }).end();
      if (request.url === '/away')
        return void response.writeHead(302, { location: `${other.url}/there` }).end();
      if (request.url === '/keep') return void response.writeHead(307, { location: '/end' }).end();
      if (request.url !== '/end') return void response.writeHead(302, { location: '/end' }).end();
      response.end(`${request.method} ${String(request.headers['x-own'])}`);
    });
    const headers = { 'x-own': 'a' };
    const followed = await fetch(`${upstream.url}/post`, { method: 'POST', body: 'b', headers });
    expect([await followed.text(), followed.url, followed.redirected]).toEqual([
      'GET a',
      `${upstream.url}/end`,
      true,
    ]);
    const got = await fetch(upstream.url, { redirect: 'manual' });
    expect([got.status, got.headers.get('location'), got.redirected]).toEqual([302, '/end', false]);
    await expect(client.request('PUT', `${upstream.url}/keep`, { body: 'b' })).rejects.toThrow(
      errors.InputInvalidError,
    );
    await expect(client.request('POST', `${upstream.url}/loop`)).rejects.toThrow(
      errors.UpstreamProtocolError,
    );
    // Each address is checked: the host of the other upstream is not in the map.
    await expect(client.request('GET', `${upstream.url}/away`, { headers })).rejects.toThrow(
      errors.DomainNotAllowedError,
    );
    await sidekey.configure({ proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' } });
    const away = await fetch(`${upstream.url}/away`, { headers });
    expect([await away.text(), away.url]).toEqual(['none', `${other.url}/there`]);
    expect(seen.at(-1)).toEqual(['/there', undefined]);
  });
});

describe('a refusal', () => {
  test('is thrown by request, and returned by fetch, which libraries do not repeat', async () => {
    const { client, fetch, upstream } = await withClient(echo, {
      grant: 'desk',
      rules: [{ methods: ['GET'] }],
    });
    const thrown = client.request('DELETE', upstream.url);
    await expect(thrown).rejects.toMatchObject({ name: 'RuleDeniedError', status: 403 });
    const returned = await fetch(upstream.url, { method: 'DELETE' });
    expect([returned.status, returned.headers.get('sidekey-error')]).toEqual([403, 'rule_denied']);
    expect(returned.headers.get('content-type')).toBe('application/json');
    expect(await returned.json()).toMatchObject({
      status: 403,
      code: 'rule_denied',
      hint: expect.any(String) as string,
    });
    expect(upstream.connections()).toBe(0);
  });

  test('has a class for each code', async () => {
    const answers: Response[] = [];
    const client = createClient({ apiKey: 'k', fetch: async () => answers.shift() as Response });
    for (const [name, kind] of Object.entries(errors)) {
      const code = name
        .replace(/Error$/, '')
        .replace(/(?!^)[A-Z]/g, '_$&')
        .toLowerCase();
      answers.push(Response.json({ code, detail: 'No.' }, { status: 403 }));
      const error = await client.getMe().catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(kind);
      expect(error).toMatchObject({ name, code, message: 'No.' });
    }
    answers.push(Response.json({ code: 'new_in_2030', detail: 'No.' }, { status: 403 }));
    await expect(client.getMe()).rejects.toMatchObject({ name: 'SidekeyError', code: 'new_in_2030' });
  });

  test('of a stream is final: the stream cannot be sent again', async () => {
    let calls = 0;
    const fetch = async () => {
      calls += 1;
      return Response.json(
        { code: 'rate_limited', detail: 'No.' },
        { status: 429, headers: { 'retry-after': '0' } },
      );
    };
    const client = createClient({ apiKey: 'k', fetch });
    await expect(client.request('POST', 'https://x.example/', { body: parts() })).rejects.toThrow('No.');
    expect(calls).toBe(1);
    await expect(client.request('POST', 'https://x.example/', { body: 'a' })).rejects.toThrow('No.');
    expect(calls).toBe(5);
  });
});
