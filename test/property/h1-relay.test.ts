import { describe, expect, it } from 'vitest';
import { requestFields } from '../../src/proxy/http/fields.ts';
import { type BodyReader, createBodyReader } from '../../src/proxy/http/h1/body.ts';
import { persists, requestFraming } from '../../src/proxy/http/framing.ts';
import { NameSet } from '../../src/proxy/http/head.ts';
import { createRequestReader } from '../../src/proxy/http/h1/read-head.ts';
import { Malformed } from '../../src/proxy/http/h1/scan.ts';
import { fieldLines, fieldSection, trailersToPass } from '../../src/proxy/http/h1/write.ts';
import * as fc from '../support/fast-check.ts';
import { requestBytes } from '../unit/proxy/http/h1/corpus.ts';
import { createNodeParser } from '../unit/proxy/http/h1/node-parser.ts';
import { bytes, headBytes, limits, readRequests } from '../unit/proxy/http/h1/read-messages.ts';

const forProxy = new NameSet(['proxy-*', 'sidekey-*', 'expect', 'host']);

/** The requests of one connection as they go on: what a relay does, without its sockets. */
function relayed(pieces: readonly Buffer[]): string {
  const heads = createRequestReader(limits);
  let body: BodyReader | null = null;
  let isLast = false;
  let rest: Buffer = Buffer.alloc(0);
  let out = '';
  for (const piece of pieces) {
    const region = Buffer.concat([rest, piece]);
    let at = 0;
    while (at < region.length) {
      if (body === null) {
        if (isLast) return out;
        const head = heads.read(region, at, region.length);
        if (head === 'incomplete') break;
        if (head instanceof Malformed) return out;
        const plan = requestFraming(head);
        if (plan instanceof Malformed || head.method === 'CONNECT') return out;
        const line = `${head.method} ${head.target} HTTP/1.1`;
        out += headBytes(head, { line, drop: forProxy, lines: fieldLines(['Host', 'h']) }).toString('latin1');
        at += head.size;
        isLast = !persists(head);
        body = createBodyReader(plan, { whose: 'request', limits });
      }
      const end = body.read(region, at, region.length);
      // Bytes of this region before the fault are not forwarded either.
      if (typeof end !== 'number') return out;
      out += region.toString('latin1', at, body.relayEnd);
      at = end;
      if (!body.over) break;
      if (body.trailers !== null) out += fieldSection(trailersToPass(body.trailers)).toString('latin1');
      body = null;
    }
    rest = region.subarray(at);
  }
  return out;
}

interface Seen {
  readonly line: string;
  readonly fields: readonly string[];
  body: string;
  whole: boolean;
}

/** The messages that Node's parser reads from these bytes. */
function seenByNode(text: string): { seen: Seen[]; error: string | null } {
  const seen: Seen[] = [];
  const parser = createNodeParser('request', {
    head: ({ method, target, fields }) =>
      seen.push({ line: `${method} ${target}`, fields, body: '', whole: false }),
    body: (part) => (seen.at(-1)!.body += part.toString('latin1')),
    end: () => (seen.at(-1)!.whole = true),
  });
  const taken = parser.execute(bytes(text));
  return { seen, error: typeof taken === 'string' ? taken : null };
}

describe('the forwarded bytes', () => {
  it('are parsed by Node as the same requests that the codec read', () => {
    const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 });
    fc.assert(
      fc.property(requestBytes, cuts, (text, shares) => {
        const places = shares.map((share) => Math.floor(share * text.length)).toSorted((a, b) => a - b);
        const pieces = [0, ...places].map((from, index) => bytes(text.slice(from, places[index])));
        const sent = relayed(pieces);
        const read = readRequests([bytes(text)]).messages.filter(({ line }) => line[0] !== 'CONNECT');
        const { seen, error } = seenByNode(sent);
        // Methods and forms of targets that Node does not take: see `looser`.
        if (error !== null) expect(error).toMatch(/^HPE_INVALID_(?:METHOD|URL)$/);
        const expected = read.slice(0, seen.length);
        expect(seen.map(({ line }) => line)).toEqual(expected.map(({ line }) => line.join(' ')));
        expect(seen.map(({ fields }) => fields)).toEqual(
          expected.map(({ fields }) => [...requestFields(fields, 'h').slice(2), 'Host', 'h']),
        );
        if (error === null) expect(seen).toHaveLength(read.length);
        for (const [index, { body, whole }] of seen.entries()) {
          if (!whole) continue;
          expect(body).toBe(expected[index]!.body);
          expect(expected[index]!.whole).toBe(true);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});
