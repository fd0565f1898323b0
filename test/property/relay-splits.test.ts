import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { exchangeOf } from '../unit/proxy/fake-upstream.ts';

const text = fc.string({ maxLength: 40 });
const interim = fc.constantFrom(
  '',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n',
);
const field = fc.constantFrom('', 'X: 1\r\n', 'Keep-Alive: timeout=9\r\n', 'Connection: close\r\n');

const bytes = (body: string) => Buffer.from(body).toString('latin1');
const withLength = text.map((body) => `Content-Length: ${bytes(body).length}\r\n\r\n${bytes(body)}`);
const inChunks = fc
  .tuple(fc.array(text.filter((it) => it !== '')), fc.constantFrom('', 'X-Sum: 7\r\n'))
  .map(([chunks, trailers]) => {
    const lines = chunks.map((it) => `${bytes(it).length.toString(16)};a=b\r\n${bytes(it)}\r\n`);
    return `Transfer-Encoding: chunked\r\n\r\n${lines.join('')}0\r\n${trailers}\r\n`;
  });
const untilClose = text.map((body) => `\r\n${bytes(body)}`);
const behind = fc.constantFrom('', '', 'X', 'HTTP/1.1 200 OK\r\n\r\n');

const response = fc
  .tuple(
    interim,
    fc.constantFrom('200 OK', '404 Not Found', '500 '),
    field,
    fc.oneof(withLength, inChunks),
    behind,
  )
  .map(([before, status, extra, rest, more]) => `${before}HTTP/1.1 ${status}\r\n${extra}${rest}${more}`);
const lastResponse = fc
  .tuple(interim, untilClose)
  .map(([before, rest]) => `${before}HTTP/1.1 200 OK\r\n${rest}`);

/** Calls of a reply for a response in these pieces, and the final state of the connection. */
async function relayed(pieces: readonly string[], method: string) {
  const { give, said, carried } = exchangeOf({ method });
  const connection = give();
  for (const piece of pieces)
    if (piece !== '' && !connection.released && !connection.destroyed) connection.says(piece);
  if (!connection.released && !connection.destroyed) connection.user.ended();
  const end = await carried.catch((error: Error) => error.message);
  return { said, end };
}

describe('a response', () => {
  it('is forwarded the same, at every split of its bytes', async () => {
    const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 5 });
    const anyResponse = fc.oneof(response, lastResponse);
    await fc.assert(
      fc.asyncProperty(
        anyResponse,
        cuts,
        fc.constantFrom('GET', 'HEAD', 'POST'),
        async (whole, shares, method) => {
          const places = shares.map((share) => Math.floor(share * whole.length)).toSorted((a, b) => a - b);
          const pieces = [0, ...places].map((from, index) => whole.slice(from, places[index]));
          const expected = await relayed([whole], method);
          expect(await relayed(pieces, method)).toEqual(expected);
          expect(await relayed(whole.split(''), method)).toEqual(expected);
          expect(expected.end).toMatchObject({ outcome: 'complete' });
        },
      ),
      { numRuns: 300 },
    );
  });
});
