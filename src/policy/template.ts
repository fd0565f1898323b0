/** A text in which `{name}` stands for a value, and `{{` and `}}` for braces. Read once, filled often. */
export type Template = readonly TemplatePart[];

/** Text as it is, or the name of what comes there. */
export type TemplatePart = { readonly text: string } | { readonly name: string };

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
