/**
 * Good messages, cut in two in every line end and in other places: whatever stands in one piece and whatever
 * in the next, the other side gets the same. Each piece is a TLS record of its own, and so is read by itself.
 * The codec alone is cut at every place: test/property/h1-codec.test.ts.
 */
import type { TLSSocket } from 'node:tls';
import * as fc from '../../support/fast-check.ts';
import { describe, expect, test } from 'vitest';
import { grantedRaw, grantedTo, onHeads } from '../../support/granted.ts';
import { openTunnel, type RawClient } from '../../support/raw-client.ts';
import { startRecording } from '../../support/recording-upstream.ts';

/** Writes a text in two pieces. */
function sendCut(socket: RawClient['socket'] | TLSSocket, text: string, at: number): void {
  if (at > 0) socket.write(text.slice(0, at), 'latin1');
  socket.write(text.slice(at), 'latin1');
}

/** A piece for each byte, each written when the one before it has gone: what waits is written together. */
async function sendByteByByte(socket: RawClient['socket'] | TLSSocket, text: string): Promise<void> {
  for (const byte of text) await new Promise((resolve) => socket.write(byte, 'latin1', resolve));
}

/** Each line end, between its bytes, and the same others every time. */
function placesIn(text: string): number[] {
  const lineEnds = [...text.matchAll(/\n/g)].map(({ index }) => index);
  const others = fc.sample(fc.integer({ min: 1, max: text.length - 1 }), { numRuns: 24, seed: 20_261_122 });
  return [...new Set([...lineEnds, ...others])];
}

/** The places where it goes wrong. */
async function wrongPlaces(text: string, at: (place: number) => Promise<unknown>): Promise<unknown[]> {
  const whole = JSON.stringify(await at(0));
  const wrong: unknown[] = [];
  for (const place of placesIn(text)) {
    const cut = JSON.stringify(await at(place));
    if (cut !== whole) wrong.push([place, cut, whole]);
  }
  return wrong;
}

const requests: [name: string, text: string, answers: number][] = [
  ['a GET', 'GET /a?b=c HTTP/1.1\r\nHost: <host>\r\nAccept: */*\r\nx-Odd:\t a  b \r\nX-Empty:\r\n\r\n', 1],
  ['one behind an empty line', '\r\nGET / HTTP/1.1\r\nHost: <host>\r\n\r\n', 1],
  ['one in absolute form', 'GET https://<host>/a HTTP/1.1\r\nHost: <host>\r\n\r\n', 1],
  ['a length', 'POST /a HTTP/1.1\r\nHost: <host>\r\nContent-Length: 11\r\n\r\nhello\r\n\r\n\r\n', 1],
  [
    'chunks',
    'PUT /a HTTP/1.1\r\nHost: <host>\r\nTransfer-Encoding: chunked\r\n\r\n5;a="b;";c\r\nhe\r\n!\r\n00a\r\n0123456789\r\n0;z\r\nX-Sum: 7\r\nY: 1\r\n\r\n',
    1,
  ],
  [
    'a pipeline',
    'POST /1 HTTP/1.1\r\nHost: <host>\r\nContent-Length: 2\r\n\r\nhi' +
      'POST /2 HTTP/1.1\r\nHost: <host>\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n' +
      'GET /3 HTTP/1.1\r\nHost: <host>\r\n\r\n',
    3,
  ],
];

describe('a request', { timeout: 60_000 }, () => {
  test.each(requests)(
    'reaches its upstream unchanged, wherever its bytes are split: %s',
    async (_name, row, answers) => {
      const upstream = await startRecording('https');
      const { sidekey } = await grantedTo(upstream);
      const text = row.replaceAll('<host>', upstream.authority);
      const client = await openTunnel(sidekey, upstream.authority);
      let seen = 0;
      const came = async () => {
        const bodies: string[] = [];
        while (bodies.length < answers) bodies.push((await client.response()).body);
        const all = upstream.recorded.flatMap(({ requests: whole }) => whole);
        const fresh = all.slice(seen).map(({ method, path, lines, body }) => ({ method, path, lines, body }));
        seen = all.length;
        return { bodies, fresh };
      };
      const cutAt = (place: number) => {
        sendCut(client.socket, text, place);
        return came();
      };
      expect(await wrongPlaces(text, cutAt)).toEqual([]);
      const whole = await cutAt(0);
      await sendByteByByte(client.socket, text);
      expect(await came()).toEqual(whole);
      expect(whole.fresh).toHaveLength(answers);
      expect(upstream.recorded.map(({ problem, rest }) => [problem, rest])).toEqual([[null, '']]);
    },
  );
});

const responses: [name: string, text: string, method?: string, ends?: boolean][] = [
  [
    'a length',
    'HTTP/1.1 200 OK\r\nX-Odd:\t a  b \r\nX-Empty:\r\nContent-Length: 11\r\n\r\nhello\r\n\r\n\r\n',
  ],
  [
    'chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;a="b;";c\r\nhe\r\n!\r\n00a\r\n0123456789\r\n0;z\r\nX-Sum: 7\r\nY: 1\r\n\r\n',
  ],
  [
    'one behind others',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno',
  ],
  ['a 204', 'HTTP/1.1 204 \r\nX: 1\r\n\r\n'],
  ['a 304', 'HTTP/1.1 304\r\nETag: "a"\r\n\r\n'],
  ['the answer to a HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n', 'HEAD'],
  ['one that ends with its connection', 'HTTP/1.1 200 OK\r\n\r\nhello\r\n\r\n', 'GET', true],
];

describe('a response', { timeout: 60_000 }, () => {
  test.each(responses)(
    'reaches its client unchanged, wherever its bytes are split: %s',
    async (_name, text, method = 'GET', ends = false) => {
      let next = 0;
      const { upstream, sidekey } = await grantedRaw((socket) => {
        onHeads(socket, () => {
          if (next < 0) void sendByteByByte(socket, text).then(() => ends && socket.end());
          else {
            sendCut(socket, text, next);
            if (ends) socket.end();
          }
        });
      });
      const client = await openTunnel(sidekey, upstream.authority);
      const cutAt = async (place: number) => {
        next = place;
        client.send(`${method} / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
        const all = [await client.response(method)];
        while (all.at(-1)!.status < 200) all.push(await client.response(method));
        return all;
      };
      expect(await wrongPlaces(text, cutAt)).toEqual([]);
      expect(await cutAt(-1)).toEqual(await cutAt(0));
      expect(client.received()).toBe('');
      // Its end was found, and where it was: the connection went on.
      if (!ends) expect(upstream.connections()).toBe(1);
    },
  );
});
