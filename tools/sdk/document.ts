import { openApiDocument } from '../../src/api/openapi.ts';
import { routes } from '../../src/api/routes.ts';

/** The parts of the OpenAPI document that the SDKs repeat. */

/** JSON Schema, as far as the OpenAPI document uses it. */
export interface Schema {
  readonly $ref?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly description?: string;
}

/** A part of the path, or a member of the query or of the body. */
export interface Parameter {
  readonly name: string;
  readonly schema: Schema;
  readonly required: boolean;
}

export interface Operation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly summary: string;
  readonly inPath: readonly Parameter[];
  readonly inQuery: readonly Parameter[];
  readonly body: Schema | undefined;
  /** Result; of a list or a stream, one entry. Undefined: there is none. */
  readonly result: Schema | undefined;
  readonly kind: 'one' | 'list' | 'stream';
}

/** Parts of the document that the SDKs repeat. */
export interface Api {
  readonly schemas: Readonly<Record<string, Schema>>;
  readonly operations: readonly Operation[];
}

/** Tag of the operations for signed-in browsers, which are left out: a program has a key. */
const browserTag = 'Passkeys';

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, PathItem>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

interface PathItem {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly parameters: readonly (Parameter & { readonly in: string })[];
  readonly requestBody?: Content;
  readonly responses: Readonly<Record<string, Content>>;
}

const json = 'application/json';
const eventStream = 'text/event-stream';

function operationOf(method: string, path: string, item: PathItem): Operation {
  const { operationId: id, summary, parameters, requestBody, responses } = item;
  const [answer] = Object.entries(responses).flatMap(([status, { content = {} }]) =>
    status === 'default' ? [] : [content],
  );
  const page = answer?.[json]?.schema;
  const entry = page?.properties?.['next_cursor'] === undefined ? undefined : page.properties['data']?.items;
  const isStream = answer?.[eventStream] !== undefined;
  const within = (place: string) =>
    parameters
      .filter((each) => each.in === place)
      .map((each) => ({ ...each, required: each.required || place === 'path' }));
  return {
    id,
    method: method.toUpperCase(),
    path,
    summary,
    inPath: within('path'),
    // The SDKs ask for the next page themselves.
    inQuery: within('query').filter(({ name }) => entry === undefined || name !== 'cursor'),
    body: requestBody?.content?.[json]?.schema,
    result: isStream ? { $ref: '#/components/schemas/AuditLine' } : (entry ?? page),
    kind: isStream ? 'stream' : entry === undefined ? 'one' : 'list',
  };
}

/** Reports whether the answer is a file, which has no type. */
function isFile({ responses }: PathItem): boolean {
  const types = Object.values(responses).flatMap(({ content = {} }) => Object.keys(content));
  return types.some((type) => type === 'application/x-ndjson' || type === 'application/octet-stream');
}

/** Reads the document. */
export function readApi(): Api {
  const { paths, components } = openApiDocument(routes, '') as unknown as Document;
  const operations = Object.entries(paths).flatMap(([path, items]) =>
    Object.entries(items).flatMap(([method, item]) =>
      item.tags.includes(browserTag) || isFile(item) ? [] : [operationOf(method, path, item)],
    ),
  );
  for (const { id, inPath, inQuery, body } of operations) {
    const names = [...inPath, ...inQuery, ...membersOf(body ?? {})].map(({ name }) => name);
    if (new Set(names).size < names.length) throw new Error(`${id}: two parameters have one name`);
  }
  return { schemas: components.schemas, operations };
}

/** Returns the members of an object; of alternatives, the members of all. */
export function membersOf({
  oneOf,
  anyOf = oneOf,
  properties = {},
  required = [],
}: Schema): readonly Parameter[] {
  if (anyOf === undefined)
    return Object.entries(properties).map(([name, schema]) => ({
      name,
      schema,
      required: required.includes(name),
    }));
  const grouped = Map.groupBy(anyOf.flatMap(membersOf), ({ name }) => name);
  return [...grouped].map(([name, all]) => ({
    name,
    schema: { anyOf: all.map(({ schema }) => schema) },
    required: all.length === anyOf.length && all.every(({ required: isRequired }) => isRequired),
  }));
}

/** Returns the name of a reference. */
export function nameOf(reference: string): string {
  return reference.replace(/^.*\//, '');
}
