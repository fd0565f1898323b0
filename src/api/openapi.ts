import { z } from 'zod';
import { remedies } from '../operations/members.ts';
import { pageQuery, pageShape } from './paging.ts';
import type { AnyRoute } from './route.ts';

/** The OpenAPI document (3.1), generated from the routes. */

type Json = Readonly<Record<string, unknown>>;

const problemShape = z
  .looseObject({
    title: z.string(),
    status: z.int(),
    code: z.string().describe('Stable code of the error; docs/errors.md lists them.'),
    detail: z.string().describe('One sentence.'),
    hint: z.string().optional().describe('The way out.'),
    remedies,
  })
  .meta({ id: 'Problem', description: 'An error (RFC 9457).' });

export function openApiDocument(routes: readonly AnyRoute[], url: string): Json {
  const schemas: Record<string, unknown> = {};
  const shape = (schema: z.ZodType, io: 'input' | 'output') => schemaOf(schema, io, schemas);
  const paths: Record<string, Record<string, unknown>> = {};
  for (const row of routes) {
    (paths[row.path] ??= {})[row.method] = {
      operationId: row.id,
      ...(row.operations === undefined ? {} : { 'x-operations': row.operations }),
      tags: [row.tag],
      summary: row.summary,
      description: row.scope === null ? 'Scope: none.' : `Scope: \`${row.scope}\`.`,
      parameters: [
        ...pathParameters(row.path),
        ...queryParameters(row, shape),
        ...headerParameters(row, routes),
        ...headParameter(row, shape),
      ],
      ...bodyOf(row, shape),
      responses: {
        [row.status ?? 200]: answerOf(row, shape),
        default: {
          description: 'An error.',
          content: { 'application/problem+json': { schema: shape(problemShape, 'output') } },
        },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sidekey',
      version: '2',
      description: 'Grants, agents, leases, approvals and the audit log of a Sidekey proxy.',
    },
    servers: [{ url }],
    security: [{ key: [] }, { bearer: [] }],
    paths,
    components: {
      schemas,
      securitySchemes: {
        key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        bearer: { type: 'http', scheme: 'bearer' },
      },
    },
  };
}

function bodyOf({ body, head, media }: AnyRoute, shape: Shape): Json {
  if (head !== undefined) return { requestBody: { content: { [media!]: {} } } };
  if (body === undefined) return {};
  const content = { 'application/json': { schema: shape(body, 'input') } };
  return { requestBody: { required: true, content } };
}

function headParameter({ head }: AnyRoute, shape: Shape): Json[] {
  if (head === undefined) return [];
  const content = { 'application/json': { schema: shape(head, 'input') } };
  return [{ name: 'Sidekey-Relay', in: 'header', required: true, content }];
}

type Shape = (schema: z.ZodType, io: 'input' | 'output') => unknown;

function answerOf(row: AnyRoute, shape: Shape): Json {
  const description = row.summary;
  if (row.status === 204) return { description };
  if (row.media !== undefined)
    return { description, content: { [row.media]: { schema: { type: 'string' } } } };
  const result = row.result ?? z.unknown();
  const schema = shape(row.list === undefined ? result : pageShape(result), 'output');
  return { description, content: { 'application/json': { schema } } };
}

function pathParameters(path: string): Json[] {
  return Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
}

function queryParameters({ query, list }: AnyRoute, shape: Shape): Json[] {
  const whole = list === undefined ? query : pageQuery(query);
  if (whole === undefined) return [];
  const { properties = {}, required = [] } = shape(whole, 'input') as {
    properties?: Record<string, { description?: string }>;
    required?: readonly string[];
  };
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema,
  }));
}

function headerParameters({ method, path, isRepeatable }: AnyRoute, routes: readonly AnyRoute[]): Json[] {
  const name = method === 'post' ? 'Idempotency-Key' : method === 'get' ? 'If-None-Match' : 'If-Match';
  const hasTag = routes.some((row) => row.method === 'get' && row.path === path);
  if (isRepeatable === true || (name === 'If-Match' && !hasTag)) return [];
  return [{ name, in: 'header', required: false, schema: { type: 'string' } }];
}

/** Returns the JSON schema. Moves schemas with an `id` to the components. */
function schemaOf(schema: z.ZodType, io: 'input' | 'output', components: Record<string, unknown>): unknown {
  const { $defs = {}, ...whole } = z.toJSONSchema(z.object({ it: schema }), {
    io,
    unrepresentable: 'any',
    override: ({ jsonSchema }) => delete jsonSchema.id,
  });
  for (const [name, definition] of Object.entries($defs)) components[name] = moved(definition);
  return moved(whole.properties?.['it']);
}

/** Rewrites references to moved definitions. */
function moved(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value).replaceAll('"#/$defs/', '"#/components/schemas/')) as unknown;
}
