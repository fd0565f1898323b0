/** Shorter ones are in ordinary words; no secret that is worth the name is as short. */
const shortest = 8;

/**
 * Response fields without a credential that stood in the path or the query: a redirect repeats the address that was
 * asked for, and who follows it elsewhere would take the credential along. An address without it is asked for again
 * through Sidekey, which puts it in anew.
 *
 * @param fields name, value, name, value…
 * @param instead what takes its place: what the client wrote there
 */
export function conceal(fields: readonly string[], token: string, instead = ''): readonly string[] {
  if (token.length < shortest) return fields;
  const forms = formsOf(token);
  return fields.map((text, index) =>
    index % 2 === 0 ? text : forms.reduce((kept, form) => kept.replaceAll(form, () => instead), text),
  );
}

/** As it is, and as URLs and forms write it; servers differ in the case of what they encode (RFC 3986 §6.2.2.1). */
function formsOf(token: string): readonly string[] {
  const encoded = encodeURIComponent(token);
  const form = new URLSearchParams([['', token]]).toString().slice(1);
  const all = [token, encoded, form, encodeURIComponent(encoded)];
  return [...new Set(all.flatMap((text) => [text, lowerHex(text)]))];
}

function lowerHex(text: string): string {
  return text.replace(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase());
}
