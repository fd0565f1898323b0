import { isFieldName } from './text.ts';

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

/** The templates of a plan that signs requests with a shared secret. */
interface SigningTemplates {
  readonly sign: string;
  readonly headers: readonly (readonly [name: string, template: string])[];
  readonly query: readonly (readonly [name: string, template: string])[];
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

/** Returns all names in a plan, with repetitions. Invalid templates have none. */
export function namesOf({ sign, headers, query }: SigningTemplates): readonly string[] {
  return [sign, ...[...headers, ...query].map(([, written]) => written)].flatMap((written) =>
    namesIn(parseTemplate(written) ?? []),
  );
}

/** Reports whether a signature covers the body. */
export function signsBody(templates: SigningTemplates): boolean {
  return namesOf(templates).some((name) => name === 'body' || (ofBody as readonly string[]).includes(name));
}
