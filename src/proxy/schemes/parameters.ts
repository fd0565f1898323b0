import { z } from 'zod';
import { text } from '../../lib/text.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../policy/text.ts';

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
 * @returns `hidden`: one of `wanted` that some servers would find within another parameter, because they also
 * split at semicolons, as HTML 4 advised
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

/** Replaces the first parameter of a name, else appends it, and removes others of the name. */
export function replacing(parameters: readonly Parameter[], name: string, own: string): string[] {
  const wanted = forgivingName(name);
  const first = parameters.findIndex((each) => each.name === wanted);
  const kept = parameters.flatMap((each, index) =>
    index === first ? [own] : each.name === wanted ? [] : [each.written],
  );
  return first < 0 ? [...kept, own] : kept;
}

/**
 * Returns the name of a parameter or a cookie as the most forgiving server reads it: decoded, in lower case,
 * without array brackets (`key[]`, `[key]`), with `_` for `.` and blanks, as in PHP. If two names are equal
 * here, some server may read the wrong one of the two.
 */
export function forgivingName(written: string): string {
  // Fast path: nearly all names are plain.
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

/** Names, each with a template of its value: see `Template` in `proxy/policy/text.ts`. */
export type Templates = readonly (readonly [name: string, template: string])[];

/** Schema of a field that may carry a credential. */
export function fieldName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['X-Api-Key'] }, (value) => {
    if (!isFieldName(value)) return { problem: 'is not a name of a header field' };
    return isReservedFieldName(value) ? { problem: 'is a field that a credential may not become' } : value;
  });
}

/** Schema of a parameter of a query or a form. */
export function parameterName(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) =>
    /^[A-Za-z0-9_.-]+$/.test(value) ? value : { problem: 'is not a name of a parameter' },
  );
}

/**
 * Schema of a template.
 *
 * @param isKnown whether a name is allowed in it
 * @param problemOf the problem of a sample of the filled template; null: none
 */
export function templateText(
  description: string,
  isKnown: (name: string) => boolean,
  problemOf: (sample: string) => string | null,
): z.ZodType<string, string> {
  return text<string>({ description }, (value) => {
    const template = parseTemplate(value);
    if (template === null) return { problem: 'has a brace that belongs to no name; write {{ or }} for one' };
    const unknown = namesIn(template).find((name) => !isKnown(name));
    if (unknown !== undefined) return { problem: `names {${unknown}}, which has no meaning here` };
    const problem = problemOf(fillTemplate(template, () => 'x'));
    return problem === null ? value : { problem };
  });
}

/** Returns the problem of a field value; null: none. */
export function fieldValueProblem(sample: string): string | null {
  return isFieldValue(sample) ? null : 'is not a value of a header field: ASCII without blanks around it';
}

/** Schema of templates by name. Names are compared without case. */
export function templates(
  key: z.ZodType<string, string>,
  value: z.ZodType<string, string>,
  description: string,
): z.ZodType<Templates, Readonly<Record<string, string>>> {
  return z
    .record(key, value)
    .superRefine((written, context) => {
      const names = Object.keys(written);
      const lower = names.map((name) => name.toLowerCase());
      if (names.length === 0) context.addIssue({ code: 'custom', message: 'is empty' });
      const twice = names.find((_, index) => lower.indexOf(lower[index]!) !== index);
      if (twice !== undefined) {
        context.addIssue({
          code: 'custom',
          path: [twice],
          message: 'is here twice, in upper and lower case',
        });
      }
    })
    .transform((written): Templates => Object.entries(written))
    .meta({ description });
}

/** Returns the names in templates, with repetitions. */
export function namesInTemplates(templates: Templates): readonly string[] {
  return templates.flatMap(([, written]) => namesIn(parseTemplate(written) ?? []));
}

/** A parsed text in which `{name}` is a placeholder, and `{{` and `}}` are braces. */
export type Template = readonly TemplatePart[];

/** Literal text, or the name of a placeholder. */
type TemplatePart = { readonly text: string } | { readonly name: string };

const mark = /\{\{|\}\}|\{([^{}]+)\}|[{}]/g;

/** Parses a template; null: it has an unpaired brace. */
export function parseTemplate(written: string): Template | null {
  const parts: TemplatePart[] = [];
  let at = 0;
  for (const found of written.matchAll(mark)) {
    const [whole, name] = found;
    if (whole.length === 1) return null;
    parts.push({ text: written.slice(at, found.index) }, name === undefined ? { text: whole[0]! } : { name });
    at = found.index + whole.length;
  }
  return [...parts, { text: written.slice(at) }].filter((part) => !('text' in part) || part.text !== '');
}

/** Returns the text with its values. */
export function fillTemplate(template: Template, valueOf: (name: string) => string): string {
  return template.map((part) => ('text' in part ? part.text : valueOf(part.name))).join('');
}

/** Returns the names in a template, with repetitions. */
export function namesIn(template: Template): readonly string[] {
  return template.flatMap((part) => ('name' in part ? [part.name] : []));
}

/** The templates of a placement that signs requests with a shared secret. */
interface SigningTemplates {
  readonly sign: string;
  readonly headers: Templates;
  readonly query: Templates;
}

/** Names for a signed text: parts of the request, and values of the signature. */
const ofMessage = ['method', 'host', 'path', 'query', 'target', 'content_type', 'body'] as const;
const ofBody = ['body_sha256', 'body_sha256_base64', 'body_md5_base64'] as const;
const brought = ['timestamp', 'nonce', 'key'] as const;

/** Names that may be sent besides the signature. */
export const sentNames: readonly string[] = [...brought, ...ofBody];
/** Names that may be signed, except `header:NAME`. */
export const signedNames: readonly string[] = [...ofMessage, ...sentNames];

const header = 'header:';

/** Returns the field of a name; null: none. */
export function fieldNamed(name: string): string | null {
  const field = name.startsWith(header) ? name.slice(header.length) : '';
  return isFieldName(field) ? field.toLowerCase() : null;
}

/** Returns all names in these templates, with repetitions. Invalid templates have none. */
export function namesOf({ sign, headers, query }: SigningTemplates): readonly string[] {
  return namesInTemplates([['', sign], ...headers, ...query]);
}

/** Reports whether a signature covers the body. */
export function signsBody(templates: SigningTemplates): boolean {
  return namesOf(templates).some((name) => name === 'body' || (ofBody as readonly string[]).includes(name));
}
