import { fieldNameAsRead } from './field.ts';
import { percentDecoded } from './fold.ts';
import type { RequestFacts } from './request-facts.ts';

/** Header fields that some servers take for the method, whatever the request line says. */
const fieldNames = new Set(['x-http-method-override', 'x-http-method', 'x-method-override']);

/** Whether a header field is one of them. */
export function overridesMethod(fieldName: string): boolean {
  return fieldNames.has(fieldNameAsRead(fieldName));
}

/** What of a request some servers take for its method, in the words of a refusal; null: nothing. */
export function methodOverride({
  method,
  path,
  methodFields,
}: Pick<RequestFacts, 'method' | 'path' | 'methodFields'>): string | null {
  const [field] = methodFields;
  if (field !== undefined) return `the header ${field}`;
  // Where servers look for it, they do so in what is sent as POST.
  return method.toUpperCase() === 'POST' && parameters(path).some((name) => isMethod(name))
    ? 'the parameter _method'
    : null;
}

/** Names of the query's parameters in the reading that finds most: this is to find, not to judge. */
function parameters(target: string): readonly string[] {
  const mark = target.indexOf('?');
  if (mark < 0) return [];
  return target
    .slice(mark + 1)
    .split(/[&;]/)
    .map((pair) => percentDecoded(pair.split('=', 1)[0] ?? ''));
}

/** Also as PHP reads a name: without blanks before it, with `_` for `.`, `+` and `[`, and up to a NUL. */
function isMethod(name: string): boolean {
  return /^[\s+]*[_.+[ ]method(?:$|[\0[])/i.test(name);
}
