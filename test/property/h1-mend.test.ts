import { describe, expect, it } from 'vitest';
import { responseFraming } from '../../src/proxy/http/framing.ts';
import { createMendingReader } from '../../src/proxy/http/h1/mend.ts';
import { Malformed } from '../../src/proxy/http/h1/scan.ts';
import { NameSet } from '../../src/proxy/http/head.ts';
import * as fc from '../support/fast-check.ts';
import { bytes, headBytes, limits, readResponses } from '../unit/proxy/http/h1/read-messages.ts';

const parts = [
  ['\r\n', '\n', '\r', ' ', '\t', ':', ',', '\r\n ', '\n\t', '\x01', '\0', '\xe9', '2', '02', '3', 'a'],
  ['X: a', 'X : b', 'Content-Length: 2', 'Content-Length', 'Transfer-Encoding: chunked', 'Transfer-Encoding'],
  ['chunked', 'identity', 'gzip', 'HTTP/1.1 200 OK\r\n', 'HTTP/1.0 103 Hi\n', 'Connection: close', 'Upgrade'],
];
const part = fc.constantFrom(...parts.flat());
const odd = fc.array(part, { maxLength: 14 }).map((parts) => `HTTP/1.1 200 OK\n${parts.join('')}\n\n`);
const method = fc.constantFrom('GET', 'HEAD');

const read = (text: string, to: string) => createMendingReader(to, limits).read(bytes(text), 0, text.length);

describe('a repaired head', () => {
  it('is exactly one head for a strict reader', () => {
    let repaired = 0;
    fc.assert(
      fc.property(odd, method, (text, to) => {
        const head = read(text, to);
        if (head === 'incomplete' || head instanceof Malformed) return;
        repaired += 1;
        expect(responseFraming(head, to)).not.toBeInstanceOf(Malformed);
        const forwarded = headBytes(head, { drop: new NameSet([]), lines: '' }).toString('latin1');
        expect(forwarded).not.toMatch(/[^\r]\n|\r[^\n]|\0/);
        expect(forwarded.indexOf('\r\n\r\n')).toBe(forwarded.length - 4);
        const again = readResponses([bytes(forwarded)], to);
        expect(again).toMatchObject({
          end: null,
          rest: '',
          messages: [{ line: ['200', expect.any(String)] }],
        });
      }),
      { numRuns: 3_000 },
    );
    expect(repaired).toBeGreaterThan(300);
  });

  it('is the same for every split of its bytes', () => {
    fc.assert(
      fc.property(odd, method, (text, to) => {
        const whole = read(text, to);
        for (let end = 1; end < text.length; end += 1) {
          const part = read(text.slice(0, end), to);
          if (part === 'incomplete') continue;
          const [one, other] = [part, whole].map((it) =>
            typeof it === 'string' || it instanceof Malformed ? String(it) : [it.size, it.text],
          );
          expect(one).toEqual(other);
          break;
        }
      }),
      { numRuns: 500 },
    );
  });
});
