import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Matcher, matcherFor } from '../../../../src/proxy/leak-guard/patterns.ts';
import { GrpcRedactor, Redactor, redactText } from '../../../../src/proxy/leak-guard/redactor.ts';

const matcherOf = (...secrets: string[]) => new Matcher(secrets);

function redacted(matcher: Matcher, ...pieces: string[]): string {
  const redactor = new Redactor(matcher);
  const out = pieces.flatMap((piece) => [...redactor.push(Buffer.from(piece, 'latin1'))]);
  return Buffer.concat([...out, ...redactor.end()]).toString('latin1');
}

function message(text: string): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(text.length, 1);
  return Buffer.concat([prefix, Buffer.from(text)]);
}

const bytesOf = (pieces: readonly Buffer[]) => pieces.reduce((sum, { length }) => sum + length, 0);

describe('a redacted text', () => {
  it('contains no byte of two overlapping secrets that start in different pieces', () => {
    const long = 'prefix-of-it-abcdefgh';
    const matcher = matcherOf(long, 'abcdefgh', 'efgh-and-more');
    expect(redacted(matcher, `${long}-and-more`)).toBe('*'.repeat(long.length + 9));
    expect(redacted(matcher, 'pre', `${long.slice(3)}!`)).toBe(`${'*'.repeat(long.length)}!`);
    expect(redacted(matcher, long.slice(0, 17), `${long.slice(17)}-and`, '-more.')).toBe(
      `${'*'.repeat(long.length + 9)}.`,
    );
  });

  it('contains no byte of a secret that contains another secret', () => {
    const long = 'prefix-of-it-abcdefgh-and-more';
    const matcher = matcherOf(long, 'abcdefgh', 'and-more');
    expect(redacted(matcher, `(${long.slice(0, 21)}`, long.slice(21))).toBe(`(${'*'.repeat(long.length)}`);
  });

  it('contains no byte of a secret even if every position could start one', () => {
    const redactor = new Redactor(matcherOf('a'.repeat(40)));
    const piece = Buffer.alloc(8_192, 'a');
    const out = [...Array.from({ length: 4 }, () => redactor.push(piece)).flat(), ...redactor.end()];
    expect(Buffer.concat(out).equals(Buffer.alloc(32_768, '*'))).toBe(true);
    expect(redactor.found).toBe(1);
  });
});

describe('the held-back text', () => {
  it('is at most as long as one rendering', () => {
    const matcher = matcherOf('secret-of-the-house');
    const redactor = new Redactor(matcher);
    let bytes = 0;
    for (let i = 0; i < 100; i += 1) bytes += bytesOf(redactor.push(Buffer.alloc(1_000, 'a')));
    expect(bytes).toBe(100_000 - matcher.maxInputBytes);
    expect(bytesOf(redactor.end())).toBe(matcher.maxInputBytes);
  });

  it.each([
    'data: {"delta":"word"}\n\n',
    '{"status":"building"}\n',
    'event: message\r\ndata: the last word\r\n\r\n',
    'a line of a log, and nothing else\n',
    '{"jsonrpc":"2.0","result":"none"}',
    '<p>a word</p>',
  ])('is empty after the end of a message: %j', (message) => {
    const redactor = new Redactor(matcherOf('ghp_0123456789abcdefghijklmnopqrstuvwxyz'));
    for (let turn = 0; turn < 3; turn += 1)
      expect(Buffer.concat([...redactor.push(Buffer.from(message))]).toString()).toBe(message);
  });

  it.each(['p"ss word-0123456789<of>the{house}', 'ghp_0123456789abcdefghijklmnopqrstuvwxyz'])(
    'is empty after a long line that does not end with Base64, for %s',
    (secret) => {
      const hash = 'QUJD'.repeat(20);
      for (const end of ['\n', '\r\n'])
        for (const line of [
          JSON.stringify({ event: 'delta', text: 'a sentence of many words, '.repeat(8), id: 4711 }),
          `${'a sentence of many words, '.repeat(8)}and its end.`,
          `https://api.example.com/v1/${hash}.`,
          `${hash}=`,
        ]) {
          const redactor = new Redactor(matcherOf(secret));
          for (let turn = 0; turn < 3; turn += 1) {
            const pieces = [line.slice(0, 50), line.slice(50), end];
            const out = pieces.flatMap((piece) => [...redactor.push(Buffer.from(piece))]);
            expect(Buffer.concat(out).toString()).toBe(`${line}${end}`);
          }
        }
    },
  );

  it('is a line of at least 60 bytes that ends with Base64, until the next byte', () => {
    for (const [length, held] of [
      [59, 0],
      [60, 61],
    ] as const) {
      const redactor = new Redactor(matcherOf('ghp_0123456789abcdefghijklmnopqrstuvwxyz'));
      expect(bytesOf(redactor.push(Buffer.from(`(${'A'.repeat(length)}\n`)))).toBe(length + 2 - held);
      expect(bytesOf(redactor.push(Buffer.from(' ')))).toBe(held + 1);
    }
  });

  it('is empty after a gRPC message, at every split', () => {
    const secret = 'ghp_0123456789abcdefghijklmnopqrstuvwxyz';
    const redactor = new GrpcRedactor(matcherOf(secret));
    for (const text of ['word', '', secret, 'x'.repeat(300)]) {
      const bytes = message(text);
      const out: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += 3) out.push(...redactor.push(bytes.subarray(at, at + 3)));
      expect(Buffer.concat(out).subarray(5).toString()).toBe(text.replace(secret, '*'.repeat(secret.length)));
    }
    expect(redactor.found).toBe(1);
    expect(redactor.end()).toEqual([]);
  });
});

describe('the search finds a secret', () => {
  const secret = 'tok-abc_def/ghi+jkl.mno';

  it.each([
    ['unchanged', secret],
    ['in upper case', secret.toUpperCase()],
    ['with JavaScript code point escapes', secret.replace(/-/g, '\\u{2d}').replace(/_/g, '\\u{00005F}')],
    ['with octal escapes', secret.replace(/-/g, '\\055').replace(/_/g, '\\137').replace('.', '\\56')],
    ['with needless backslashes', secret.replace(/[^a-z]/g, '\\$&')],
    ['with escaped line breaks', `${secret.slice(0, 7)}\\\n${secret.slice(7, 9)}\\\r\n${secret.slice(9)}`],
    [
      'in entities with many zeros',
      secret.replace(/-/g, `&#${'0'.repeat(40)}45;`).replace('+', '&#x00000002b'),
    ],
    ['in the percent-encoding of IIS', secret.replace(/-/g, '%u002d').replace(/_/g, '%U005F')],
    ['as Python quotes it', secret.replace('+', '%2B')],
    ['as Go escapes a path', secret.replace('/', '%2F')],
    ['in HTML with every sign', secret.replace('/', '&sol;').replace('+', '&plus;').replace('_', '&lowbar;')],
    ['escaped by JSON twice', JSON.stringify(JSON.stringify(secret.replace(/\//g, '\\/'))).slice(3, -3)],
  ])('%s', (_, text) => {
    const out = redactText(matcherOf(secret), `(${text})`);
    expect(out).toBe(`(${'*'.repeat(text.length)})`);
  });

  it('in full, even if it contains text that looks like an escape', () => {
    for (const text of [
      'ab%41cd<ef>gh',
      'ab&#65;cd"ef',
      'a\\u0041b"cdef',
      'pass\\word"12',
      'x%y&z\\"12345',
    ]) {
      const html = text.replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
      for (const written of [text, html, JSON.stringify(text).slice(1, -1), encodeURIComponent(text)])
        expect(redactText(matcherOf(text), `(${written})`), written).toBe(`(${'*'.repeat(written.length)})`);
    }
  });

  it('of 1,500 bytes, in Base64 with line breaks and in hex', () => {
    const long = randomBytes(1_125).toString('base64url');
    const matcher = matcherOf(long);
    const wrapped = Buffer.from(long).toString('base64').replace(/.{64}/g, '$&\n');
    for (const text of [long, wrapped.replace(/=+$/, ''), Buffer.from(long).toString('hex')]) {
      const out = redactText(matcher, `${text} end`);
      expect(out.replace(/^\**/, '').length).toBeLessThanOrEqual(6);
    }
  });
});

describe('the matcher of a credential', () => {
  it('is built once, and not for a credential that is too short', () => {
    const secrets = { texts: ['long-enough', 'short'] };
    expect(matcherFor(secrets)).toBe(matcherFor(secrets));
    expect(redactText(matcherFor(secrets)!, 'short and long-enough')).toBe(`short and ${'*'.repeat(11)}`);
    expect(matcherFor({ texts: ['short', ''] })).toBeNull();
    expect(matcherFor({ texts: ['\\\\\\\\\\\\\\\\\\'] })).toBeNull();
  });

  it('finds a secret at the last byte', () => {
    const matcher = matcherFor({ texts: ['\xff\xfe-\xff-\xff-1'] })!;
    expect(redactText(matcher, '%ff\xfe-\xff-\xff-1')).toBe('*'.repeat(10));
  });

  it('finds a Latin-1 credential in UTF-8 and its escapes', () => {
    const matcher = matcherFor({ texts: ['p\xe4ssw\xf6rd-1'] })!;
    for (const text of [
      'p\xe4ssw\xf6rd-1',
      'p\xc3\xa4ssw\xc3\xb6rd-1',
      'p\\u00e4ssw%C3%B6rd-1',
      'p%E4ssw&#246;rd-1',
    ])
      expect(redactText(matcher, text)).toBe('*'.repeat(text.length));
  });

  it('finds a UTF-8 credential', () => {
    const matcher = matcherFor({ texts: [Buffer.from('p\xe4ss-\u20ac-word').toString('latin1')] })!;
    for (const text of ['p\\u00e4ss-\\u20ac-word', 'p%C3%A4ss-&#8364;-word'])
      expect(redactText(matcher, text)).toBe('*'.repeat(text.length));
  });
});
