import { parametersOf, type Parameter } from './method-override.ts';

/** More parameters are not looked at one by one. */
const mostParameters = 1_000;

/** Reports whether a body of that `Content-Type` is a form, in the reading that finds most. */
export function hasForm(contentType: string | null): boolean {
  return /x-www-form-urlencoded|multipart\//i.test(contentType ?? '');
}

/** Reads the parameters of a form; undefined: it is none, null: it has too many. Decodes to find, not to judge. */
export function formOf(
  contentType: string | null,
  bytes: Uint8Array,
): readonly Parameter[] | null | undefined {
  if (!hasForm(contentType)) return undefined;
  const text = new TextDecoder('latin1').decode(bytes);
  const parameters = /multipart\//i.test(contentType ?? '') ? partsOf(text) : parametersOf(text);
  return parameters.length > mostParameters ? null : parameters;
}

/** Parts of `multipart/form-data` (RFC 7578 §4.2): what stands as a name in any line, and the line after the next empty one. */
function partsOf(text: string): readonly Parameter[] {
  const parameters: Parameter[] = [];
  for (const { 1: quoted, 2: bare, index, 0: all } of text.matchAll(
    /\bname\*?[ \t]*=[ \t]*(?:(?:utf-8'')?"([^"\r\n]*)"?|([^";\s]+))/gi,
  )) {
    const head = text.slice(index + all.length, index + all.length + 1_024);
    const [, value = ''] = /\r?\n\r?\n([^\r\n]{0,64})/.exec(head) ?? [];
    for (const parameter of parametersOf((quoted ?? bare ?? '').replace(/^utf-8''/i, ''))) {
      parameters.push([parameter[0], value]);
    }
    if (parameters.length > mostParameters) break;
  }
  return parameters;
}
