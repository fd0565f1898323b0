/** Bodies of each kind that every JavaScript runtime has, with the bytes and the type that arrive. */
import type { Client } from '../../../../src/sdk/client/client.ts';

const bytes = Uint8Array.of(0, 128, 255);

async function* parts() {
  yield 'é';
  yield bytes;
}

type Row = readonly [name: string, body: () => object | string, hex: string, type?: string];

export const bodies: readonly Row[] = [
  ['a string', () => 'é', 'c3a9', 'text/plain;charset=UTF-8'],
  ['a Uint8Array', () => bytes, '0080ff'],
  ['a part of a buffer', () => bytes.subarray(1, 2), '80'],
  ['a DataView', () => new DataView(bytes.buffer, 1), '80ff'],
  ['an ArrayBuffer', () => bytes.slice().buffer, '0080ff'],
  ['a Blob', () => new Blob([bytes], { type: 'image/png' }), '0080ff', 'image/png'],
  [
    'a URLSearchParams',
    () => new URLSearchParams({ a: '&' }),
    '613d253236',
    'application/x-www-form-urlencoded;charset=UTF-8',
  ],
  ['an object', () => ({ a: [1, null] }), '7b2261223a5b312c6e756c6c5d7d', 'application/json'],
];

/** Bodies that a browser sends only over HTTP/2. */
export const streams: readonly Row[] = [
  ['a ReadableStream', () => new Blob([bytes]).stream(), '0080ff'],
  ['an async iterable', parts, 'c3a90080ff'],
];

/** Sends each body to an address that answers with what it received. Returns the name and the answer of each. */
export async function sendBodies(client: Client, url: string, rows: readonly Row[]) {
  await client.putDomain({ host: new URL(url).host, action: 'tunnel' });
  const received: unknown[] = [];
  for (const [name, body] of rows) {
    const answer = await client.request('POST', url, { body: body() });
    received.push([name, ...((await answer.json()) as readonly unknown[])]);
  }
  return received;
}

/** Returns what `sendBodies` returns. */
export const arrived = (rows: readonly Row[]) => rows.map(([name, , hex, type = null]) => [name, hex, type]);
