import { isFieldName } from './text.ts';

/** A text in which `{name}` stands for a value, and `{{` and `}}` for braces. Read once, filled often. */
export type Template = readonly TemplatePart[];

/** Text as it is, or the name of what comes there. */
type TemplatePart = { readonly text: string } | { readonly name: string };

const mark = /\{\{|\}\}|\{([^{}]+)\}|[{}]/g;

/** Null: it has a brace that is neither a pair, nor begins or ends a name. */
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

/** The text with its values. */
export function fillTemplate(template: Template, valueOf: (name: string) => string): string {
  return template.map((part) => ('text' in part ? part.text : valueOf(part.name))).join('');
}

/** The names that a template has, each as often as it stands there. */
export function namesIn(template: Template): readonly string[] {
  return template.flatMap((part) => ('name' in part ? [part.name] : []));
}

/** The templates of a plan that signs requests with a shared secret. */
interface SigningTemplates {
  readonly sign: string;
  readonly headers: readonly (readonly [name: string, template: string])[];
  readonly query: readonly (readonly [name: string, template: string])[];
}

/** What `{name}` may stand for in what is signed: parts of the request, and what the signature brings. */
const ofMessage = ['method', 'host', 'path', 'query', 'target', 'content_type', 'body'] as const;
const ofBody = ['body_sha256', 'body_sha256_base64', 'body_md5_base64'] as const;
const brought = ['timestamp', 'nonce', 'key'] as const;

/** What may be sent besides the signature. */
export const sentNames: readonly string[] = [...brought, ...ofBody];
/** What may be signed, but for `header:NAME`. */
export const signedNames: readonly string[] = [...ofMessage, ...sentNames];

const header = 'header:';

/** The field that a name stands for. Null: none. */
export function fieldNamed(name: string): string | null {
  const field = name.startsWith(header) ? name.slice(header.length) : '';
  return isFieldName(field) ? field.toLowerCase() : null;
}

/** All names in a plan, each as often as it stands there. Templates that cannot be read have none. */
export function namesOf({ sign, headers, query }: SigningTemplates): readonly string[] {
  return [sign, ...[...headers, ...query].map(([, written]) => written)].flatMap((written) =>
    namesIn(parseTemplate(written) ?? []),
  );
}

/** Reports whether a signature is made of the body. */
export function signsBody(templates: SigningTemplates): boolean {
  return namesOf(templates).some((name) => name === 'body' || (ofBody as readonly string[]).includes(name));
}
