import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Automaton } from '../../../src/echo/automaton.ts';
import { characterOf } from '../../../src/echo/character.ts';
import { automatonFor, redactText } from '../../../src/echo/guarded-secrets.ts';
import { Redactor } from '../../../src/echo/redactor.ts';
import { renderingsOf } from '../../../src/echo/renderings.ts';

const automatonOf = (...secrets: string[]) => new Automaton(secrets.flatMap(renderingsOf));

function redacted(automaton: Automaton, ...pieces: string[]): string {
  const redactor = new Redactor(automaton);
  const out = pieces.flatMap((piece) => [...redactor.push(Buffer.from(piece, 'latin1'))]);
  return Buffer.concat([...out, ...redactor.end()]).toString('latin1');
}

describe('what is left of a text with a secret', () => {
  it('has no secret, of whatever characters that is made', () => {
    for (const secret of ['*********', '*~!^|@$?*~', '~*~*~*~*~*', 'a*a*a*a*a*']) {
      const out = redacted(automatonOf(secret), `1${secret}2${secret.slice(4)}`);
      expect(out).toHaveLength(2 + secret.length * 2 - 4);
      expect(out.includes(secret)).toBe(false);
      expect(redactText(automatonOf(secret), out)).toBe(out);
    }
  });

  it('has none of two that overlap, one of which began in another piece', () => {
    const long = 'prefix-of-it-abcdefgh';
    const automaton = automatonOf(long, 'abcdefgh', 'efgh-and-more');
    expect(redacted(automaton, `${long}-and-more`)).toBe('*'.repeat(long.length + 9));
    expect(redacted(automaton, 'pre', `${long.slice(3)}!`)).toBe(`pre${'*'.repeat(long.length - 3)}!`);
    expect(redacted(automaton, long.slice(0, 17), `${long.slice(17)}-and`, '-more.')).toBe(
      `${'*'.repeat(long.length + 9)}.`,
    );
  });

  it('has none of one in which another was found before it was complete', () => {
    const long = 'prefix-of-it-abcdefgh-and-more';
    const automaton = automatonOf(long, 'abcdefgh', 'and-more');
    expect(redacted(automaton, `(${long.slice(0, 21)}`, long.slice(21))).toBe(`(${'*'.repeat(long.length)}`);
  });

  it('is found in bounded work where everything may be a beginning', () => {
    const automaton = automatonOf('a'.repeat(40));
    const redactor = new Redactor(automaton);
    const piece = Buffer.alloc(8_192, 'a');
    const out = [...Array.from({ length: 4 }, () => redactor.push(piece)).flat(), ...redactor.end()];
    expect(Buffer.concat(out).every((byte) => byte === automaton.mask)).toBe(true);
  }, 20_000);

  it('holds no more back than one rendering can be long', () => {
    const automaton = automatonOf('secret-of-the-house');
    const redactor = new Redactor(automaton);
    let bytes = redactor.push(Buffer.from('secret-o')).reduce((sum, { length }) => sum + length, 0);
    // Zeros stand between the bytes of a wide text, and end nothing.
    for (let i = 0; i < 100; i += 1)
      bytes += redactor.push(Buffer.alloc(1_000)).reduce((sum, { length }) => sum + length, 0);
    expect(bytes).toBeGreaterThanOrEqual(100_008 - automaton.longest * 2);
    const rest = Buffer.concat([...redactor.push(Buffer.from('f-the-house')), ...redactor.end()]);
    expect(rest.toString('latin1')).toMatch(/^\0*\*+$/);
  });

  it('keeps what it learned within bounds, and goes on where that is forgotten', () => {
    const secret = randomBytes(1_500).toString('base64url');
    const automaton = automatonOf(secret);
    const text = Array.from({ length: 30 }, (_, index) => secret.slice(0, 1_900 - index)).join('%');
    const out = redacted(automaton, text, secret.slice(0, 1_000), secret.slice(1_000), ' end');
    expect(out.endsWith(`${'*'.repeat(secret.length)} end`)).toBe(true);
  });
});

it('a character has fewer nodes than a state has room for', () => {
  for (const byte of Buffer.from('%&\\/+"A=_\xe4', 'latin1'))
    expect(characterOf([byte, 0x2b, 0x2f], true).forms.begins.length).toBeLessThan(4_096);
});

describe('the automaton of a credential', () => {
  it('is made once, and for nothing that is too short', () => {
    const secrets = { texts: ['long-enough', 'short'] };
    expect(automatonFor(secrets)).toBe(automatonFor(secrets));
    expect(redactText(automatonFor(secrets)!, 'short and long-enough')).toBe(`short and ${'*'.repeat(11)}`);
    expect(automatonFor({ texts: ['short', ''] })).toBeNull();
  });

  it('finds the last byte of all, too', () => {
    const automaton = automatonFor({ texts: ['\xff\xfe-\xff-\xff-1'] })!;
    expect(redactText(automaton, '%ff\xfe-\xff-\xff-1')).toBe('*'.repeat(10));
  });

  it('finds what was sent as Latin-1 in UTF-8 and its escapes', () => {
    const automaton = automatonFor({ texts: ['p\xe4ssw\xf6rd-1'] })!;
    for (const text of [
      'p\xe4ssw\xf6rd-1',
      'p\xc3\xa4ssw\xc3\xb6rd-1',
      'p\\u00e4ssw%C3%B6rd-1',
      'p%E4ssw&#246;rd-1',
    ])
      expect(redactText(automaton, text)).toBe('*'.repeat(text.length));
  });
});
