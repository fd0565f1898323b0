/**
 * `htu`: where a request goes, without query and fragment (RFC 9449 §4.2). The path stays as it leaves: a server compares
 * with what came, or normalizes both (§4.3), and either way finds the same. Bytes other than ASCII are encoded.
 *
 * @param origin `https://host`, with the port where it is not the usual one; in lower case
 * @param path origin-form, with its query; each character a byte
 */
export function targetUri(origin: string, path: string): string {
  const end = path.search(/[?#]/);
  const bare = end < 0 ? path : path.slice(0, end);
  return `${origin}${bare === '' ? '/' : bare.replace(/[^\x21-\x7e]/g, encoded)}`;
}

function encoded(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}
