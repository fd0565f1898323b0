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
