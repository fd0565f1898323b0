/** A text in which `*` stands for any number of characters. Nothing else is special. */
export interface Glob {
  readonly text: string;
  /** What stands between the stars: one part means that there is no star. */
  readonly parts: readonly string[];
}

/** Reads a glob. Every text is one. */
export function parseGlob(text: string): Glob {
  return { text, parts: text.split('*') };
}

/**
 * Whether a glob covers the whole of a text. The time it takes grows with the length of the text and no faster, whatever
 * the glob: the first place where a part fits is always as good as a later one.
 */
export function matchesGlob({ parts }: Glob, text: string): boolean {
  const first = parts[0] ?? '';
  if (parts.length === 1) return text === first;
  const last = parts.at(-1) ?? '';
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last))
    return false;
  const end = text.length - last.length;
  let at = first.length;
  for (let index = 1; index < parts.length - 1; index += 1) {
    const part = parts[index] ?? '';
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/**
 * Whether a glob covers a text, or what stands before one of its suffixes: `.json`, `::$DATA`, `()`, dots and blanks. It
 * takes no more time than `matchesGlob`, for any cut that comes after the parts between the stars is as good as another.
 */
export function matchesStem({ parts }: Glob, text: string): boolean {
  const first = parts[0] ?? '';
  if (!text.startsWith(first)) return false;
  if (parts.length === 1) return endsStem(text, first.length);
  let at = first.length;
  for (let index = 1; index < parts.length - 1; index += 1) {
    const part = parts[index] ?? '';
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  const last = parts.at(-1) ?? '';
  if (last === '') return true;
  for (let found = text.indexOf(last, at); found >= 0; found = text.indexOf(last, found + 1)) {
    if (endsStem(text, found + last.length)) return true;
  }
  return false;
}

/** What begins a suffix: of Rails and Spring (`.`), of NTFS and Google (`:`), of OData (`(`); blanks before it are dropped. */
const suffix = /\s*(?:[.:(]|$)/y;

function endsStem(text: string, end: number): boolean {
  suffix.lastIndex = end;
  return suffix.test(text);
}

/** Whether one of them covers it. */
export function matchesAny(globs: readonly Glob[], text: string): boolean {
  // A loop without a function of its own: each rule asks this of all that a request names.
  for (const glob of globs) if (matchesGlob(glob, text)) return true;
  return false;
}

/** Whether every text that `inner` covers is covered by `outer`. May say no where it is so; never yes where it is not. */
export function globCovers(outer: Glob, inner: Glob): boolean {
  // A star is a character to a glob that has one there too, and one that no part of a glob can hold.
  return outer.text === inner.text || matchesGlob(outer, inner.text);
}
