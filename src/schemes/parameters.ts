/** One parameter of a query or of a form (application/x-www-form-urlencoded). */
export interface Parameter {
  /** As it is written, with its value. */
  readonly written: string;
  /** See `forgivingName`. */
  readonly name: string;
}

/**
 * The parameters of a text, in their order.
 *
 * @param wanted names as `forgivingName` has them
 * @returns `hidden`: the name among them that some servers would find within a parameter of another one. They end one at a
 * semicolon, as HTML 4 advised.
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

/** A parameter as it is written. */
export function parameter(name: string, value: string): string {
  return `${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
}

/** Parameters in which one has the place of the first of its name, else the last place; others of its name are gone. */
export function replacing(parameters: readonly Parameter[], name: string, own: string): string[] {
  const wanted = forgivingName(name);
  const first = parameters.findIndex((each) => each.name === wanted);
  const kept = parameters.flatMap((each, index) =>
    index === first ? [own] : each.name === wanted ? [] : [each.written],
  );
  return first < 0 ? [...kept, own] : kept;
}

/**
 * The name of a parameter or a cookie as the most forgiving server reads it: decoded, without case, up to what makes an
 * array of it (`key[]`; to some `[key]` is the same), with `.` and blanks as the underscore that PHP makes of them. What is
 * of one name by this is of one name to somebody, and of two such he might read the wrong one.
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
