import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { bareHost, canonicalHost, isAddress } from '../../src/proxy/policy/authority.ts';

/** Whatever may come over a wire or stand in a file. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.string({
    unit: fc.constantFrom(
      'a',
      'B',
      '.',
      '-',
      '1',
      '0x',
      ':',
      '[',
      ']',
      '@',
      '%',
      '\0',
      '/',
      '\\',
      'ß',
      '\u3002',
      '\u2488',
    ),
  }),
);
const label = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}[a-z]$/).filter((text) => !/^..--/.test(text));
const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.'));

const octal = (byte: number) => `0${byte.toString(8)}`;

describe('the canonical host', () => {
  it('stays the same when it is canonicalized again', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          anyText,
          fc.domain(),
          fc.ipV4(),
          fc.ipV6().map((text) => `[${text}]`),
        ),
        (text) => {
          const host = canonicalHost(text);
          if (host !== null) expect(canonicalHost(host)).toBe(host);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('equals the hostname of the URL parser', () => {
    const part = fc.constantFrom('a', 'z', '0', '9', '0x', '-', '_', '.', 'xn--', 'x', 'é', 'com');
    const text = fc.array(part, { minLength: 1, maxLength: 10 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, (written) => {
        const host = canonicalHost(written);
        if (host !== null) expect(URL.parse(`https://${written.replace(/\.$/, '')}/`)?.hostname).toBe(host);
      }),
      { numRuns: 5_000 },
    );
  });

  it('contains no character that ends or splits a host, and no upper case', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const host = canonicalHost(text);
        if (host === null) return;
        expect(host).toMatch(/^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])$/);
        expect(host.length).toBeLessThanOrEqual(253);
      }),
      { numRuns: 2_000 },
    );
  });

  it('contains only allowed characters for any input character of the first two planes', () => {
    const canonical = /^[a-z0-9-]+\.example$/;
    const wrong: string[] = [];
    for (let code = 0; code < 0x20000; code++) {
      const host = canonicalHost(`a${String.fromCodePoint(code)}.example`);
      if (host !== null && !canonical.test(host) && !/^[a._]+\.example$/.test(host))
        wrong.push(`${code.toString(16)}: ${host}`);
    }
    expect(wrong).toEqual([]);
  });

  it('of a plain name is that name in lower case, without a final dot', () => {
    fc.assert(
      fc.property(name, fc.infiniteStream(fc.boolean()), fc.boolean(), (plain, upper, dot) => {
        const cased = plain
          .split('')
          .map((char) => (upper.next().value === true ? char.toUpperCase() : char))
          .join('');
        expect(canonicalHost(cased + (dot ? '.' : ''))).toBe(plain);
        expect(isAddress(plain)).toBe(false);
      }),
    );
  });

  it('is different for two different plain names', () => {
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(canonicalHost(a) === canonicalHost(b)).toBe(a === b);
      }),
    );
  });

  it('of an IPv4 address is its four decimal numbers, and every other notation is refused', () => {
    fc.assert(
      fc.property(fc.tuple(...Array.from({ length: 4 }, () => fc.nat(255))), (bytes) => {
        const [a = 0, b = 0, c = 0, d = 0] = bytes;
        const plain = bytes.join('.');
        const number = ((a * 256 + b) * 256 + c) * 256 + d;
        expect(canonicalHost(plain)).toBe(plain);
        expect(isAddress(plain)).toBe(true);
        const spellings = [
          String(number),
          `0x${number.toString(16)}`,
          `0X${number.toString(16)}`,
          octal(number),
          `${a}.${(b * 256 + c) * 256 + d}`,
          `${a}.${b}.${c * 256 + d}`,
          bytes.map(octal).join('.'),
          bytes.map((byte) => `0x${byte.toString(16)}`).join('.'),
          [...bytes.slice(0, 3), octal(d)].join('.'),
          [octal(a), ...bytes.slice(1)].join('.'),
          plain
            .split('')
            .map((char) => (char === '.' ? char : String.fromCodePoint(0xff10 + Number(char))))
            .join(''),
          plain.replaceAll('.', '\u3002'),
          `[${plain}]`,
          `${plain}..`,
        ];
        for (const spelling of spellings) expect(canonicalHost(spelling), spelling).toBeNull();
      }),
    );
  });

  it('of an IPv6 address is in brackets, for every notation of the address', () => {
    const groups = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(groups, (values) => {
        const full = values.map((value) => value.toString(16).padStart(4, '0').toUpperCase()).join(':');
        const short = values.map((value) => value.toString(16)).join(':');
        const host = canonicalHost(`[${full}]`)!;
        expect(canonicalHost(`[${short}]`)).toBe(host);
        expect(isAddress(host)).toBe(true);
        expect(bareHost(host)).toBe(host.slice(1, -1));
        expect(canonicalHost(short)).toBeNull();
      }),
    );
  });

  it('does not exist if a byte of a valid host is replaced by a forbidden byte', () => {
    const foreign = fc.constantFrom(
      '\0',
      '\t',
      '\n',
      '\r',
      ' ',
      '/',
      '\\',
      '?',
      '#',
      '@',
      ':',
      '%',
      '\u00ad',
      '\u200b',
      '*',
      '[',
      ']',
      '<',
      '|',
    );
    fc.assert(
      fc.property(name, fc.nat(), foreign, (plain, at, char) => {
        const i = at % (plain.length + 1);
        expect(canonicalHost(plain.slice(0, i) + char + plain.slice(i))).toBeNull();
      }),
    );
  });
});
