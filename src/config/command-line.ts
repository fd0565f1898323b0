/** What a shell would act on and what is not run here: there is no shell. */
const shellSyntax = /[|&;<>()$`]/;

/**
 * Splits a command line into its words the way a shell splits words, and does nothing else that a shell does:
 * `'…'` is literal, in `"…"` a backslash escapes `"` and `\`, outside of quotes it escapes any one character.
 * Text that a shell would expand or act on is a problem, not a surprise.
 */
export function splitCommandLine(text: string): readonly string[] | { readonly problem: string } {
  const words: string[] = [];
  let word: string | null = null;
  let quote: "'" | '"' | null = null;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    const next = text.charAt(at + 1);
    if (quote === "'") {
      if (character === quote) quote = null;
      else word = (word ?? '') + character;
    } else if (character === '\\') {
      if (next === '') return { problem: 'ends in a backslash' };
      // POSIX: between double quotes a backslash stays where it escapes nothing.
      word = (word ?? '') + (quote === '"' && !/["\\]/.test(next) ? character + next : next);
      at += 1;
    } else if (character === quote) {
      quote = null;
    } else if (shellSyntax.test(character) && !(quote === '"' && !/[$`]/.test(character))) {
      return { problem: `has a ${character} for a shell; there is none: quote it, or call sh -c '…'` };
    } else if (quote === null && (character === "'" || character === '"')) {
      quote = character;
      word ??= '';
    } else if (quote === null && /\s/.test(character)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== null) return { problem: 'has a quote that is not closed' };
  if (word !== null) words.push(word);
  return words.length === 0 ? { problem: 'names no command' } : words;
}
