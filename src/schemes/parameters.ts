/** One parameter of a query or of a form (application/x-www-form-urlencoded). */
export interface Parameter {
  /** The parameter with its value, unchanged. */
  readonly written: string;
  /** See `forgivingName`. */
  readonly name: string;
}

/**
 * Parses the parameters of a text, in their order.
 *
 * @param wanted names as `forgivingName` returns them
 * @returns `hidden`: one of `wanted` that some servers would find within another parameter, because they also separate
 * parameters at a semicolon, as HTML 4 advised
 */
export function parametersOf(
  text: string,
  wanted: ReadonlySet<string>,
): readonly Parameter[] | { readonly hidden: string } {
  const parameters: Parameter[] = [];
  for (const written of text === '' ? [] : text.split('&')) {
    if (!written.includes(';')) {
      parameters.push({ written, name: nameOf(written) });
      continue;
    }
    const [name = '', ...more] = written.split(';').map(nameOf);
    const hidden = more.find((each) => wanted.has(each));
    if (hidden !== undefined) return { hidden };
    parameters.push({ written, name });
  }
  return parameters;
}

function nameOf(parameter: string): string {
  const end = parameter.indexOf('=');
  return forgivingName(end < 0 ? parameter : parameter.slice(0, end));
}

/** Writes a parameter. */
export function parameter(name: string, value: string): string {
  return `${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
}

/** Puts a parameter in the place of the first of its name, else at the end, and removes others of its name. */
export function replacing(parameters: readonly Parameter[], name: string, own: string): string[] {
  const wanted = forgivingName(name);
  const first = parameters.findIndex((each) => each.name === wanted);
  const kept = parameters.flatMap((each, index) =>
    index === first ? [own] : each.name === wanted ? [] : [each.written],
  );
  return first < 0 ? [...kept, own] : kept;
}

/**
 * Returns the name of a parameter or a cookie as the most forgiving server reads it: decoded, in lower case, without
 * array brackets (`key[]`, `[key]`), with `_` for `.` and blanks, as PHP writes them. Two names that are equal here are
 * equal to some server, which might read the wrong one of the two.
 */
export function forgivingName(written: string): string {
  // Nearly all are plain.
  if (/^[a-z0-9_-]*$/.test(written)) return written;
  const plain = written.replaceAll('+', ' ');
  const decoded = plain.includes('%')
    ? plain.replace(/%u([0-9A-Fa-f]{4})|%([0-9A-Fa-f]{2})/g, (_, wide?: string, byte?: string) =>
        String.fromCharCode(Number.parseInt(wide ?? byte ?? '', 16)),
      )
    : plain;
  const end = decoded.indexOf('\0');
  return (end < 0 ? decoded : decoded.slice(0, end))
    .trim()
    .replace(/^\[+/, '')
    .replace(/[[\]].*$/s, '')
    .replace(/[ .]/g, '_')
    .toLowerCase();
}
