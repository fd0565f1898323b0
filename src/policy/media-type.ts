/** Media types of JSON (RFC 6839 §3.1). */
export const jsonType = /^application\/(?:[a-z0-9.+-]*\+)?json$/;

/** The media type of a `Content-Type`, in lower case. Null: there is none, or one whose text is not UTF-8. */
export function mediaTypeOf(contentType: string | null): string | null {
  const [, type, parameters = ''] = /^\s*([^\s;,]+)\s*((?:;[^,]*)?)$/.exec(contentType ?? '') ?? [];
  if (type === undefined) return null;
  const named = parameters.match(/charset/gi)?.length ?? 0;
  const isUtf8 = named === 0 || (named === 1 && /;\s*charset\s*=\s*"?utf-?8"?\s*(?:;|$)/i.test(parameters));
  return isUtf8 ? type.toLowerCase() : null;
}
