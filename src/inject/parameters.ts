import { forgivingName } from './forgiving-name.ts';

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
