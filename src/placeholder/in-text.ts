/** A text with a value in the place of others; of two that begin at one place the longer is meant. */
export function replaceIn(text: string, texts: readonly string[], value: string): string {
  const longestFirst = texts.toSorted((one, other) => other.length - one.length);
  return longestFirst.reduce((kept, each) => kept.replaceAll(each, () => value), text);
}

/** The user name and password of `Basic` credentials (RFC 7617 §2), a character a byte; null: these are none. */
export function basicPair(value: string): string | null {
  const [, encoded] = /^basic +([A-Za-z0-9+/_-]+=*) *$/i.exec(value) ?? [];
  return encoded === undefined ? null : Buffer.from(encoded, 'base64').toString('latin1');
}
