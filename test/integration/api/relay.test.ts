/** `POST /v2/relay`: a request and its answer, streamed. */
import { once } from 'node:events';
import { type IncomingMessage, request as httpRequest, type RequestListener } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { bearerToken } from '../../support/sidekey.ts';
import { startService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';

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

async function relaying(listener: RequestListener, domain: object = { grant: 'desk' }) {
  const upstream = await startUpstream(listener);
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
          typeof head === 'string' ? head : JSON.stringify({ method: 'GET', url: upstream.url, ...head }),
        ...(init.headers as Record<string, string>),
      },
    });
  return { ...service, upstream, relay, apiKey: key };
}

const headOf = (response: Response) => JSON.parse(response.headers.get('sidekey-answer') ?? '') as AnswerHead;

test('a request and its answer pass with the credential of the grant', async () => {
  const { relay, upstream, sidekey } = await relaying(async (request, response) => {
    const body = await buffer(request);
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

/** Resolves with the head of the answer to a request whose body the caller goes on to send. */
function openRelay({ url, apiKey, upstream }: Awaited<ReturnType<typeof relaying>>, head: Partial<Head>) {
  const relay = JSON.stringify({ method: 'POST', url: upstream.url, ...head });
  const request = httpRequest(`${url}/v2/relay`, {
    method: 'POST',
    headers: { 'x-api-key': apiKey, 'sidekey-relay': relay },
  });
  request.on('error', () => {});
  return { request, answered: once(request, 'response') as Promise<[IncomingMessage]> };
}

describe('streams', () => {
  test('both directions pass each part before the next one is sent', async () => {
    const service = await relaying((request, response) => {
      response.flushHeaders();
      request.pipe(response);
    });
    const { request, answered } = openRelay(service, {});
    request.flushHeaders();
    const [response] = await answered;
    expect(response.statusCode, String(response.headers['sidekey-error'])).toBe(200);
    expect(JSON.parse(String(response.headers['sidekey-answer']))).toMatchObject({ status: 200 });
    for (const part of ['first', 'second', 'third']) {
      request.write(part);
      const [chunk] = (await once(response, 'data')) as [Buffer];
      expect(chunk.toString()).toBe(part);
    }
    request.end();
    await once(response, 'end');
  });
});
