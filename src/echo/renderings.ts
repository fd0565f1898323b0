import { characterOf, eitherCase, type Character } from './character.ts';

/** What is looked for: characters in their order, each in any of its forms. */
export type Rendering = readonly Character[];

/** Shorter secrets stand in ordinary text by chance: to look for them would spoil what is no echo. Characters. */
export const shortestGuarded = 8;

/** Whether an echo of it can be told from chance. */
export function isGuardable(secret: string): boolean {
  return secret.length >= shortestGuarded;
}

/**
 * All that is looked for of a secret: itself, in hex, and what Base64 makes of it at each of the three offsets that it can
 * have in a longer text; each character in any of its forms.
 *
 * @param secret a character a byte, as in a header field
 */
export function renderingsOf(secret: string): readonly Rendering[] {
  const bytes = Buffer.from(secret, 'latin1');
  const plain = withoutPadding(secret);
  return [
    Array.from(plain, (letter) => characterOf([letter.charCodeAt(0)])),
    Array.from(bytes.toString('hex'), (digit) => characterOf(eitherCase(digit))),
    ...[0, 1, 2].map((offset) =>
      Array.from(base64Within(bytes, offset), (letter, index) =>
        characterOf(eitherAlphabet(letter), index > 0),
      ),
    ),
  ];
}

/** Base64 goes with its padding and without. */
function withoutPadding(secret: string): string {
  const bare = secret.replace(/={1,2}$/, '');
  return isGuardable(bare) ? bare : secret;
}

/** The characters of Base64 that hold nothing but bits of these bytes, where so many bytes stand before them. */
function base64Within(bytes: Buffer, offset: number): string {
  const all = Buffer.concat([Buffer.alloc(offset), bytes]);
  return all.toString('base64').slice(Math.ceil((offset * 8) / 6), Math.floor((all.length * 8) / 6));
}

/** RFC 4648 §4 and §5. */
function eitherAlphabet(letter: string): readonly number[] {
  const pair = letter === '+' ? '+-' : letter === '/' ? '/_' : letter;
  return Array.from(pair, (one) => one.charCodeAt(0));
}
