import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { isGuardable, Matcher } from '../../src/proxy/leak-guard/patterns.ts';
import { Redactor } from '../../src/proxy/leak-guard/redactor.ts';
import { unescaped } from '../../src/proxy/leak-guard/unescape.ts';

/** Alphabets of credentials, and characters that resemble the encodings around them. */
const letters = Array.from(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=:!#$%&*"\'<>\\,;@ ',
);
const anySecret = fc
  .array(fc.constantFrom(...letters), { minLength: 8, maxLength: 60 })
  .map((all) => all.join(''))
  // Fields have no spaces at their ends, and padding is no part of what is looked for.
  .filter((text) => text.trim() === text && !text.endsWith('='))
  // What reads as an escape within an escape is found as a whole and not in every mixture, and what is read
  // over is no end.
  .filter((text) => !/^\\|\\$|[%&\\].{0,9}[%&\\]/.test(text) && isPlain(text) && isGuardable(text));

/** True if no part reads as an escape: then the parts must not be written in several ways. */
function isPlain(text: string): boolean {
  const bytes = Buffer.from(text, 'latin1');
  return unescaped(bytes).equals(bytes);
}

const htmlText = (text: string) =>
  text.replace(
    /[&<>"']/g,
    (one) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[one]!,
  );
const jsonText = (text: string) => JSON.stringify(text).slice(1, -1);
const formText = (text: string) => new URLSearchParams([['', text]]).toString().slice(1);
const slashes = (text: string) => jsonText(text).replaceAll('/', '\\/');
const everyPercent = (text: string) =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
const everyUnicode = (text: string) =>
  Array.from(text, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
const everyEntity = (text: string) => Array.from(text, (one) => `&#${one.charCodeAt(0)};`).join('');

/** Ways to write a text within another, by what others provide. */
const ways: Readonly<Record<string, (text: string) => string>> = {
  htmlText,
  jsonText,
  encodeURIComponent,
  formText,
  slashes,
  everyPercent,
  everyUnicode,
  upper: (text) => everyPercent(text).toUpperCase(),
  upperUnicode: (text) => everyUnicode(text).toUpperCase().replaceAll('\\U', '\\u'),
  everyEntity,
  hexEntity: (text) =>
    Array.from(text, (one) => `&#x${one.charCodeAt(0).toString(16).toUpperCase()};`).join(''),
};
/** Encodings that keep letters and digits, which are applied around others. */
const outer = { asItIs: (text: string) => text, htmlText, jsonText, encodeURIComponent, formText, slashes };

const anyWay = fc.tuple(
  fc.constantFrom('asItIs', ...Object.keys(ways)),
  fc.constantFrom(...(Object.keys(outer) as (keyof typeof outer)[])),
);

function write(text: string, [inner, around]: [string, keyof typeof outer]): string {
  return outer[around]((ways[inner] ?? outer.asItIs)(text));
}

/** Each character in a way of its own. */
const mixed = fc.infiniteStream(anyWay).map((stream) => {
  const chosen: [string, keyof typeof outer][] = [];
  return (text: string) =>
    Array.from(text, (one, index) => {
      while (chosen.length <= index) chosen.push(stream.next().value as [string, keyof typeof outer]);
      return write(one, chosen[index]!);
    });
});

const wide = (text: string) => Buffer.from(text, 'utf16le').toString('latin1');

const splits = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 });

/** Cut at the sizes, over and over. */
function pieces(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const cut: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = sizes[i % sizes.length]!;
    cut.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return cut;
}

function redacted(matcher: Matcher, all: readonly Buffer[]): { bytes: Buffer; found: number } {
  const redactor = new Redactor(matcher);
  const out = all.flatMap((piece) => [...redactor.push(piece)]);
  out.push(...redactor.end());
  return { bytes: Buffer.concat(out), found: redactor.found };
}

const matcherOf = (secret: string) => new Matcher([secret]);

function expectMasked(out: Buffer, start: number, rendered: Buffer): void {
  expect(out.subarray(start, start + rendered.length).toString('latin1')).toBe('*'.repeat(rendered.length));
}

describe('the leak guard', () => {
  it('masks a credential with a different encoding for each character, at every split', () => {
    fc.assert(
      fc.property(anySecret, mixed, splits, (secret, writes, sizes) => {
        const matcher = matcherOf(secret);
        const characters = writes(secret);
        const rendered = Buffer.from(characters.join(''), 'latin1');
        const text = Buffer.concat([Buffer.from('{ '), rendered, Buffer.from(' }\n')]);
        const whole = redacted(matcher, [text]);
        expect(whole.found).toBe(1);
        expectMasked(whole.bytes, 2, rendered);
        expect(whole.bytes.subarray(0, 2).toString()).toBe('{ ');
        expect(whole.bytes.subarray(2 + rendered.length).toString()).toBe(' }\n');
        const split = redacted(matcher, pieces(text, sizes));
        expect(split.bytes.equals(whole.bytes)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('masks a credential inside a longer text in every encoding, at every split', () => {
    fc.assert(
      fc.property(
        anySecret,
        fc.string(),
        fc.string(),
        anyWay,
        splits,
        (secret, before, after, way, sizes) => {
          const matcher = matcherOf(secret);
          const rendered = write(secret, way);
          // Behind a part of an escape it is not known where the credential begins, and written twice not
          // where it ends.
          const gap = way[1] !== 'asItIs' && /[%&\\].{0,9}$/.test(secret) ? ' ' : '';
          const text = `${write(before.replaceAll(/[\ud800-\udfff]/g, ''), way)} ${rendered}${gap}${after}`;
          const all = Buffer.from(text);
          const { bytes, found } = redacted(matcher, pieces(all, sizes));
          expect(found).toBeGreaterThan(0);
          expect(bytes.length).toBe(all.length);
          expect(bytes.toString().includes(rendered)).toBe(false);
        },
      ),
      {
        numRuns: 150,
        // With what follows it, the last character reads as an escape.
        examples: [["'AAAAAAA%", '', '00', ['htmlText', 'asItIs'], [1]]],
      },
    );
  });

  it('finds a credential in Base64 and hex of a longer text, in both alphabets, wrapped and escaped', () => {
    const coded = fc.constantFrom<(bytes: Buffer) => string>(
      (bytes) => bytes.toString('base64'),
      (bytes) => bytes.toString('base64url'),
      (bytes) => bytes.toString('base64').replace(/.{76}/g, '$&\r\n'),
      (bytes) => bytes.toString('hex'),
      (bytes) => bytes.toString('hex').toUpperCase(),
    );
    const around = fc.constantFrom(...Object.values(outer));
    fc.assert(
      fc.property(
        anySecret,
        fc.uint8Array({ maxLength: 200 }),
        fc.uint8Array({ maxLength: 50 }),
        coded,
        around,
        splits,
        (secret, before, after, code, escape, sizes) => {
          const matcher = matcherOf(secret);
          const all = Buffer.concat([before, Buffer.from(secret, 'latin1'), after]);
          const text = escape(code(all));
          const { bytes, found } = redacted(matcher, pieces(Buffer.from(text), sizes));
          expect(found).toBeGreaterThan(0);
          expect(bytes.length).toBe(text.length);
          const shown = bytes.toString().split('*');
          // What is masked is what stands for the secret: all but the first letters, and those it shares with
          // others.
          const masked = text.length - shown.join('').length;
          expect(masked).toBeGreaterThanOrEqual(
            code(Buffer.from(secret, 'latin1')).replace(/=+$/, '').length - 7,
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it('finds a credential in Base64 with lines of any length from 60, with a different encoding for each character', () => {
    fc.assert(
      fc.property(
        anySecret,
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 60, max: 100 }),
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.constantFrom('', 'Authorization: Basic '),
        fc.oneof(
          mixed.map((writes) => (text: string) => writes(text).join('')),
          fc.constantFrom(outer.asItIs, wide),
        ),
        splits,
        (secret, before, length, lineBreak, label, writing, sizes) => {
          const base64 = Buffer.concat([before, Buffer.from(secret)]).toString('base64');
          // Behind a blank, a line is long enough only for credentials that may have blanks.
          const start = secret.includes(' ') ? label : '';
          const lines = `${start}${base64}`.replace(new RegExp(`.{${length}}(?=.)`, 'g'), `$&${lineBreak}`);
          const text = Buffer.from(writing(lines), 'latin1');
          const { bytes, found } = redacted(matcherOf(secret), pieces(text, sizes));
          expect(found).toBeGreaterThan(0);
          expect(bytes.length).toBe(text.length);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('finds a credential in UTF-16 and UTF-32', () => {
    fc.assert(
      fc.property(
        anySecret,
        fc.constantFrom([1, 0], [0, 1], [3, 0], [0, 3]),
        splits,
        (secret, zeros, sizes) => {
          const [behind, before] = zeros as [number, number];
          const wide = Buffer.concat(
            Array.from(secret, (one) =>
              Buffer.concat([Buffer.alloc(before), Buffer.from(one), Buffer.alloc(behind)]),
            ),
          );
          const { bytes, found } = redacted(matcherOf(secret), pieces(wide, sizes));
          expect(found).toBeGreaterThan(0);
          expect(bytes.toString('latin1').replaceAll('\0', '').includes(secret.slice(3))).toBe(false);
        },
      ),
    );
  });

  it('finds several credentials, adjacent and nested', () => {
    fc.assert(
      fc.property(fc.array(anySecret, { minLength: 2, maxLength: 4 }), splits, (secrets, sizes) => {
        const [first, ...rest] = secrets as [string, ...string[]];
        const all = [first, ...rest, `${rest[0]}${first}${rest[0]}`];
        const matcher = new Matcher(all);
        const text = `${all.join('')}${all.toReversed().join(' ')}`;
        const { bytes } = redacted(matcher, pieces(Buffer.from(text), sizes));
        expect(bytes.length).toBe(text.length);
        for (const secret of all) expect(bytes.toString().includes(secret)).toBe(false);
      }),
    );
  });

  it('leaves a text without a credential unchanged, byte for byte', () => {
    const anyText = fc.oneof(
      fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes)),
      fc.json().map((text) => Buffer.from(text)),
      // Much that may be the beginning of it.
      fc
        .array(fc.constantFrom('%', '%4', '\\u00', '&#', '\0', 'secre', 'c2Vj', '7365', '\r\n'), {
          maxLength: 99,
        })
        .map((parts) => Buffer.from(parts.join(''))),
    );
    const matcher = matcherOf('secret-of-the-house');
    fc.assert(
      fc.property(anyText, splits, (bytes, sizes) => {
        const out = redacted(matcher, pieces(bytes, sizes));
        expect(out.found).toBe(0);
        expect(out.bytes.equals(bytes)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });
});
