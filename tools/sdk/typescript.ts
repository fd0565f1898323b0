import { failures } from '../../src/lib/failures.ts';
import { type Api, nameOf, type Operation, type Parameter, type Schema } from './document.ts';

/**
 * The generated part of the TypeScript SDK. The package has at most 60 KB, so members have no comments and no
 * `readonly`, which only arrays need.
 */

/** Codes that the client itself adds. */
const ownCodes = ['unreachable', 'timeout', 'unexpected_answer', 'session_expired'];

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
    return `${name}${required ? '' : '?'}: ${typeOf(schema)};\n`;
  });
  if (isOpen) lines.push('[name: string]: unknown;\n');
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

function indented(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

/** Returns the method of an operation. */
function methodOf({ id, summary, inPath, inQuery, body, result, kind }: Operation): string {
  const parameters = [...inPath, ...inQuery];
  const parts = [
    ...(parameters.length === 0 ? [] : [members(parameters)]),
    ...(body === undefined ? [] : [grouped(typeOf(body))]),
  ];
  const input = parts.join(' & ') || 'object';
  const type = result === undefined ? 'void' : typeOf(result);
  return `/** ${summary} */\n${id}: ${kind === 'one' ? 'Call' : 'Entries'}<${input}, ${type}>;\n`;
}

/** Returns the kind, path and further query of an operation. Members of a read are always in the query. */
function rowOf({ id, method, path, kind, inQuery }: Operation): string {
  const isRead = method === 'GET' || method === 'DELETE';
  const query = isRead ? [] : inQuery.map(({ name }) => `?${name}`);
  const verb = kind === 'one' ? method : kind === 'list' ? 'LIST' : 'STREAM';
  return `  ${id}: '${verb} ${path.replace(/^\/v2/, '')}${query.join('')}',\n`;
}

export function renderTypeScript({ schemas, operations }: Api): string {
  const types = Object.entries(schemas).map(([name, schema]) => {
    const type = typeOf(schema);
    return `export ${type.startsWith('{') ? `interface ${name} ${type}` : `type ${name} = ${type};`}\n`;
  });
  const codes = [...Object.keys(failures), ...ownCodes].map((code) => `  '${code}',\n`);
  return `// Made by "npm run sdk" from the OpenAPI document.
import type { Call, Entries } from './call.ts';

${types.join('\n')}
/** Methods of the client, one for each operation of the API. */
export interface Operations {
${indented(operations.map(methodOf).join('\n'))}}

/** Kind, path below \`/v2\` and further query of each operation. */
export const operations: Readonly<Record<keyof Operations, string>> = {
${operations.map(rowOf).join('')}};

/** Codes of errors. */
export const codes = [
${codes.join('')}] as const;
`;
}
