const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A field for people: its bytes came as one character each (latin1), and are UTF-8 where they can be. */
export function readText(field: string): string {
  try {
    return utf8.decode(Buffer.from(field, 'latin1'));
  } catch {
    return field;
  }
}
