import { type Api, nameOf, type Operation, type Parameter, type Schema } from './document.ts';

/** The generated part of the TypeScript SDK. */

const transport = './transport.ts';

const scalars: Readonly<Record<string, string>> = {
  string: 'string',
  number: 'number',
  integer: 'number',
  boolean: 'boolean',
  null: 'null',
};

/** Returns the type of a schema. */
function typeOf(schema: Schema): string {
  const { $ref, enum: values, anyOf, oneOf = anyOf, type, items } = schema;
  if ($ref !== undefined) return nameOf($ref);
  if ('const' in schema) return literal(schema.const);
  if (values !== undefined) return values.map(literal).join(' | ');
  if (oneOf !== undefined) return union(oneOf.map(typeOf));
  if (Array.isArray(type)) return union(type.map((each: string) => typeOf({ ...schema, type: each })));
  if (type === 'array') return `readonly ${grouped(typeOf(items ?? {}))}[]`;
  if (type === 'object') return objectType(schema);
  return scalars[String(type)] ?? 'unknown';
}

function objectType({ properties = {}, required = [], additionalProperties: more = true }: Schema): string {
  const entries = Object.entries(properties).map(([name, schema]) => ({
    name,
    schema,
    required: required.includes(name),
  }));
  if (typeof more === 'object' && entries.length === 0) return `Readonly<Record<string, ${typeOf(more)}>>`;
  return members(entries, more !== false);
}

function members(entries: readonly Parameter[], isOpen = false): string {
  const lines = entries.map(({ name, schema, required }) => {
    const type = typeOf(schema);
    const shown = required ? type : union([type, 'undefined']);
    return `${comment(schema.description)}readonly ${name}${required ? '' : '?'}: ${shown};\n`;
  });
  if (isOpen) lines.push('readonly [name: string]: unknown;\n');
  return lines.length === 0 ? 'object' : `{\n${indented(lines.join(''))}}`;
}

/** Leaves out the types that another one contains. */
function union(types: readonly string[]): string {
  if (types.includes('unknown')) return 'unknown';
  const kept = types.includes('string') ? types.filter((type) => !type.startsWith("'")) : types;
  return [...new Set(kept)].join(' | ');
}

function literal(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : JSON.stringify(value);
}

function grouped(type: string): string {
  return /^[\w$]+$/.test(type) ? type : `(${type})`;
}

function comment(text: string | undefined): string {
  return text === undefined ? '' : `/** ${text} */\n`;
}

function indented(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

/** Returns the method of an operation. */
function methodOf({ id, method, path, summary, inPath, inQuery, body, result, kind }: Operation): string {
  const parameters = [...inPath, ...inQuery];
  const needsInput =
    parameters.some(({ required }) => required) ||
    (body !== undefined && (body.oneOf !== undefined || (body.required ?? []).length > 0));
  const parts = [
    ...(parameters.length === 0 ? [] : [members(parameters)]),
    ...(body === undefined ? [] : [grouped(typeOf(body))]),
  ];
  const input = `input${needsInput ? '' : '?'}: ${parts.join(' & ') || 'Record<string, never>'}`;
  const type = result === undefined ? 'void' : typeOf(result);
  const answer = kind === 'one' ? `Promise<${type}>` : `AsyncGenerator<${type}, void, undefined>`;
  const calls = `\`${method} ${path}\``;
  return `/** ${summary} ${calls} */\n${id}(${input}, options?: CallOptions): ${answer};\n`;
}

export function renderTypeScript({ schemas, operations }: Api): string {
  const types = Object.entries(schemas).map(([name, schema]) => {
    const type = typeOf(schema);
    const declared = type.startsWith('{') ? `interface ${name} ${type}` : `type ${name} = ${type};`;
    return `${comment(schema.description)}export ${declared}\n`;
  });
  const rows = operations.map(
    ({ id, method, path, kind, inQuery }) =>
      `  ${id}: ['${method}', '${path}', '${kind}', [${inQuery.map(({ name }) => literal(name)).join(', ')}]],\n`,
  );
  return `// Made by "npm run sdk" from the OpenAPI document.
import type { CallOptions } from '${transport}';

${types.join('\n')}
/** Methods of the client, one for each operation of the API. */
export interface Operations {
${indented(operations.map(methodOf).join('\n'))}}

type Operation = readonly [
  method: string,
  path: string,
  kind: 'one' | 'list' | 'stream',
  query: readonly string[],
];

/** Method, path, kind and query of each operation. */
export const operations: Readonly<Record<keyof Operations, Operation>> = {
${rows.join('')}};
`;
}
