import { describe, expect, it } from 'vitest';
import { requestFields } from '../../src/proxy/http/fields.ts';
import { NameSet } from '../../src/proxy/http/head.ts';
import { createRequestReader, createResponseReader } from '../../src/proxy/http/h1/read-head.ts';
import { Malformed } from '../../src/proxy/http/h1/scan.ts';
import { chunkEnd, chunkStart, fieldLines, lastChunk } from '../../src/proxy/http/h1/write.ts';
import * as fc from '../support/fast-check.ts';
import { requestBytes, responseBytes } from '../unit/proxy/http/h1/corpus.ts';
import {
  headBytes,
  byteByByte,
  bytes,
  limits,
  readRequests,
  readResponses,
} from '../unit/proxy/http/h1/read-messages.ts';

/** Cuts at these places, so often as there are any. */
function cut(text: string, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.map((share) => Math.floor(share * text.length)))].toSorted((a, b) => a - b);
  return [0, ...places].map((from, index) => bytes(text.slice(from, places[index] ?? text.length)));
}
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 5 });

describe('a split of the input', () => {
  it('does not affect requests', () => {
    fc.assert(
      fc.property(requestBytes, cuts, (text, at) => {
        const whole = readRequests([bytes(text)]);
        expect(readRequests(cut(text, at))).toEqual(whole);
        expect(readRequests(byteByByte(text))).toEqual(whole);
      }),
      { numRuns: 1_500 },
    );
  });

  it('does not affect responses', () => {
    fc.assert(
      fc.property(responseBytes, cuts, fc.constantFrom('GET', 'HEAD', 'CONNECT'), (text, at, method) => {
        const whole = readResponses([bytes(text)], method);
        expect(readResponses(cut(text, at), method)).toEqual(whole);
        expect(readResponses(byteByByte(text), method)).toEqual(whole);
      }),
      { numRuns: 1_500 },
    );
  });

  it('does not affect a request at any single position', () => {
    fc.assert(
      fc.property(requestBytes, (text) => {
        const whole = readRequests([bytes(text)]);
        for (let at = 1; at < text.length; at += 1)
          expect(readRequests([bytes(text.slice(0, at)), bytes(text.slice(at))])).toEqual(whole);
      }),
      { numRuns: 150 },
    );
  });
});

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/);
const framing = new Set(['content-length', 'transfer-encoding', 'connection', 'proxy-connection', 'upgrade']);
const freeName = token.filter((name) => !framing.has(name.toLowerCase()));
const anyName = fc.oneof(
  freeName,
  fc.constantFrom(
    'Host',
    'Authorization',
    'PROXY-own',
    'Proxy-',
    'Sidekey-',
    'Proxy-Authorization',
    'sidekey-grant',
    'Te',
    'Keep-Alive',
    'Expect',
    'Cookie',
  ),
);
/** Without blanks around it. */
const value = fc
  .array(
    fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.constant(9), fc.integer({ min: 0x80, max: 0xff })),
    { maxLength: 20 },
  )
  .map((codes) => String.fromCharCode(...codes).replace(/^[ \t]+|[ \t]+$/g, ''));
const blank = fc.stringMatching(/^[ \t]{0,3}$/);
const field = fc.record({ name: anyName, before: blank, value, after: blank });
const lineOf = (it: { name: string; before: string; value: string; after: string }) =>
  `${it.name}:${it.before}${it.value}${it.after}\r\n`;
const payload = fc.stringMatching(/^[\r\n0-9a-z]{0,30}$/);
const body = fc.oneof(
  fc.constant({ fields: '', bytes: '', payload: '' }),
  payload.map((text) => ({ fields: `Content-Length: ${text.length}\r\n`, bytes: text, payload: text })),
  fc
    .array(
      payload.filter((text) => text !== ''),
      { maxLength: 3 },
    )
    .map((chunks) => ({
      fields: 'transfer-encoding:  chunked \r\n',
      bytes: chunks.map((it) => chunkStart(it.length) + it + chunkEnd).join('') + lastChunk,
      payload: chunks.join(''),
    })),
);
const method = fc.stringMatching(/^[A-Z][A-Z0-9-]{0,10}$/).filter((it) => it !== 'CONNECT' && it !== 'PRI');
const target = fc.stringMatching(/^[!-"$-~]{1,30}$/);
const message = fc.record({ method, target, fields: fc.array(field, { maxLength: 8 }), body });

describe('a sequence of generated requests', () => {
  it('is parsed back, message by message', () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 4 }), cuts, (messages, at) => {
        const text = messages
          .map(
            (it) =>
              `${it.method} ${it.target} HTTP/1.1\r\n${it.fields.map(lineOf).join('')}${it.body.fields}\r\n${it.body.bytes}`,
          )
          .join('');
        const read = readRequests(cut(text, at));
        expect(read).toMatchObject({ end: null, rest: '' });
        expect(read.messages.map((it) => [...it.line, it.body, it.whole])).toEqual(
          messages.map((it) => [it.method, it.target, it.body.payload, true]),
        );
        for (const [index, it] of messages.entries()) {
          const own = it.fields.flatMap((one) => [one.name, one.value]);
          expect(read.messages[index]!.fields.slice(0, own.length)).toEqual(own);
        }
      }),
      { numRuns: 1_500 },
    );
  });
});

const none = new NameSet([]);
const dropped = new NameSet(['proxy-*', 'sidekey-*', 'expect', 'host', 'cookie']);
const connection = fc
  .array(fc.oneof(fc.constantFrom('close', 'keep-alive', 'Host', 'authorization', 'X-A', ''), freeName), {
    maxLength: 3,
  })
  .map((options) => ({ name: 'Connection', before: ' ', value: options.join(', ').trim(), after: '' }));
const headFields = fc.array(fc.oneof({ weight: 6, arbitrary: field }, connection), { maxLength: 10 });

function requestHead(text: string) {
  const head = createRequestReader(limits).read(bytes(text), 0, text.length);
  if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
  return head;
}

describe('a head that is forwarded', () => {
  it('keeps every byte if it has no hop-by-hop field', () => {
    const ofOne = /^(?:connection|keep-alive|proxy-connection|te|upgrade|http2-settings)$/i;
    const staying = field.filter(({ name }) => !ofOne.test(name));
    fc.assert(
      fc.property(method, target, fc.array(staying, { maxLength: 10 }), (verb, path, list) => {
        const text = `${verb} ${path} HTTP/1.1\r\n${list.map(lineOf).join('')}\r\n`;
        expect(headBytes(requestHead(text), { drop: none, lines: '' }).toString('latin1')).toBe(text);
        const answer = `HTTP/1.1 200 \xe9 \r\n${list.map(lineOf).join('')}\r\n`;
        const head = createResponseReader(limits).read(bytes(answer), 0, answer.length);
        if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
        expect(headBytes(head, { drop: none, lines: '' }).toString('latin1')).toBe(answer);
      }),
      { numRuns: 1_500 },
    );
  });

  it('has the fields that the header rules of the proxy allow, with each line unchanged', () => {
    fc.assert(
      fc.property(headFields, (list) => {
        const drop = new NameSet(['proxy-*', 'sidekey-*', 'expect', 'host']);
        const head = requestHead(`GET / HTTP/1.1\r\n${list.map(lineOf).join('')}\r\n`);
        const sent = headBytes(head, { drop, lines: '' }).toString('latin1');
        const lines = sent.split('\r\n').slice(1, -2);
        const passed = requestFields(head.fields, 'h').slice(2);
        expect(requestHead(sent).fields).toEqual(passed);
        const originals = new Set(list.map((it) => lineOf(it).slice(0, -2)));
        expect(lines.filter((line) => !originals.has(line))).toEqual([]);
      }),
      { numRuns: 1_500 },
    );
  });

  it('can be parsed again after any fields are dropped and added', () => {
    fc.assert(
      fc.property(headFields, fc.array(fc.tuple(token, value), { maxLength: 3 }), (list, added) => {
        const head = requestHead(`GET / HTTP/1.1\r\n${list.map(lineOf).join('')}\r\n`);
        const raw = added.flat();
        const sent = headBytes(head, { line: 'PUT /b HTTP/1.0', drop: dropped, lines: fieldLines(raw) });
        const read = requestHead(sent.toString('latin1'));
        expect([read.method, read.target, read.version]).toEqual(['PUT', '/b', '1.0']);
        expect(read.size).toBe(sent.length);
        expect(read.fields.slice(read.fields.length - raw.length)).toEqual(raw);
      }),
      { numRuns: 1_500 },
    );
  });
});
