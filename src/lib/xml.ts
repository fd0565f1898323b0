import type { Json, JsonObject } from './json.ts';

/**
 * Reader and writer for XML of elements and text, as AWS sends it. Parsers differ in what else XML has, so a
 * text with a comment, CDATA, a document type, an attribute or an element twice is refused.
 */

const declaration = /^<\?xml version="1\.0"(?: encoding="UTF-8")? ?\?>/i;
/** A tag, or the text between two. Namespaces are read over. */
const part = /<(\/?)([A-Za-z_][\w.-]*)(?: xmlns="[^"<>&]*")?[ \t\r\n]*(\/?)>|([^<>]+)/y;
const reference = /&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9A-Fa-f]{1,6}));/g;
const named: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
/** Characters that XML 1.0 (§2.2) does not have. */
const noCharacter = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;

const maxDepth = 100;

/** Parses a document. Returns its root by name, elements as objects or as text; undefined: see above. */
export function parseXml(document: string): JsonObject | undefined {
  const stack = [{ name: '', children: new Map<string, Json>(), text: '' }];
  part.lastIndex = declaration.exec(document)?.[0].length ?? 0;
  while (part.lastIndex < document.length) {
    const [, isEnd, name, isEmpty, written] = part.exec(document) ?? [];
    const top = stack.at(-1)!;
    if (written !== undefined) {
      top.text += written;
      continue;
    }
    if (name === undefined || (isEnd !== '' && (isEmpty !== '' || name !== top.name))) return undefined;
    if (isEnd === '') {
      if (top.children.has(name) || stack.length > maxDepth) return undefined;
      stack.push({ name, children: new Map(), text: '' });
    }
    if (isEnd === '' && isEmpty === '') continue;
    const { children, text } = stack.pop()!;
    const value = children.size === 0 ? decoded(text) : isBlank(text) ? children : undefined;
    if (value === undefined) return undefined;
    stack.at(-1)!.children.set(name, value);
  }
  const [{ children, text }, ...open] = stack as [(typeof stack)[0], ...typeof stack];
  return open.length === 0 && children.size === 1 && isBlank(text) ? children : undefined;
}

const isBlank = (text: string): boolean => /^[ \t\r\n]*$/.test(text);

function decoded(written: string): string | undefined {
  const text = written.replaceAll(reference, (_, name?: string, decimal?: string, hex?: string) => {
    if (name !== undefined) return named[name]!;
    const code = decimal === undefined ? Number.parseInt(hex!, 16) : Number(decimal);
    return String.fromCodePoint(code > 0x10ffff ? 0 : code);
  });
  const isLoose = written.replaceAll(reference, '').includes('&');
  return isLoose || noCharacter.test(text) ? undefined : text;
}

/** Writes an object of texts and objects as elements. */
export function writeXml(value: object): string {
  const elements = Object.entries(value as Readonly<Record<string, string | object>>);
  return elements
    .map(([name, inner]) => {
      const content = typeof inner === 'string' ? escaped(inner) : writeXml(inner);
      return `<${name}>${content}</${name}>`;
    })
    .join('');
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}
