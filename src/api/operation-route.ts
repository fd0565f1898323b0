import { z } from 'zod';
import { withOrigin } from '../audit/log.ts';
import type { Operation, WhileLong } from '../operations/operation.ts';
import { withRightsInMemory } from '../store/rights-in-memory.ts';
import type { Caller } from '../operations/caller.ts';
import type { Caller as ApiCaller } from './caller.ts';
import type { ServiceParts } from './parts.ts';
import { type AnyRoute, type Given, originOf, route } from './route.ts';

/** Operations as routes: parameters, query, body and answer follow from the shapes of an operation. */

/** Tags of the OpenAPI document, by the nouns of operations. */
const tags: Readonly<Record<string, string>> = {
  agent: 'Agents',
  api_key: 'Keys',
  approval: 'Approvals',
  audit: 'Audit',
  ca: 'Clients',
  config: 'Config',
  domain: 'Domains',
  environment: 'Clients',
  grant: 'Grants',
  health: 'Status',
  key: 'Status',
  lease: 'Leases',
  node: 'Status',
  person: 'People',
  proposal: 'Proposals',
  provider: 'Providers',
  request: 'Clients',
};

interface OperationPlace extends Pick<AnyRoute, 'id' | 'isLong'> {
  readonly status?: 201;
  /** Place of the members that the path does not name; default: query of GET and DELETE, body of others. */
  readonly carrier?: 'query';
  /** Words of its command: `lease create`. Absent: the command line has none. */
  readonly command?: string;
  /** Present for a list: the member that is the key of an entry. */
  readonly list?: string;
  /** Present: callers that are limited to a user may use the route, as in `Route`. */
  readonly owner?: (given: AnyGiven, parts: ServiceParts) => string | null | Promise<string | null>;
}

/** A request to the route of an operation. */
export type AnyGiven = Given<Record<string, unknown> | undefined, Record<string, unknown> | undefined>;

/**
 * Returns the route of an operation. Members of the input that the path names are path parameters. GET and
 * DELETE take the others from the query, other methods from the body.
 *
 * @param at method and path: `POST /v2/leases/{lease}/renew`
 */
export function operationRoute<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  operation: Operation<Input, Output, Result>,
  at: `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} ${string}`,
  { list, command, carrier, ...place }: OperationPlace,
): AnyRoute {
  const { summary, scope, input, output, machineOnly = [] } = operation;
  const [verb = '', path = ''] = at.split(' ');
  const method = verb.toLowerCase() as AnyRoute['method'];
  const inPath = Array.from(path.matchAll(/\{(\w+)\}/g), ([, member = '']) => member);
  const rest = Object.entries(input.shape).filter(
    ([member]) => !inPath.includes(member) && !machineOnly.includes(member),
  );
  const carried =
    rest.length === 0
      ? {}
      : carrier === 'query' || method === 'get' || method === 'delete'
        ? {
            query: z.strictObject(
              Object.fromEntries(rest.map(([member, shape]) => [member, inQuery(shape)])),
            ),
          }
        : { body: z.strictObject(Object.fromEntries(rest)) };
  return route<AnyGiven['query'], AnyGiven['body']>({
    ...place,
    ...(carried as object),
    tag: tags[operation.id.split('.', 1)[0]!]!,
    ...(command === undefined ? {} : { commands: [command] }),
    method,
    path,
    summary,
    scope,
    result: list === undefined ? output : (output as unknown as z.ZodArray<z.ZodType>).element,
    ...(list === undefined ? {} : { list: (entry: Record<string, string>) => entry[list]! }),
    async handle({ params, query, body, caller }, parts) {
      const { limit: _limit, cursor: _cursor, ...filter } = query ?? {};
      const given = { ...filter, ...body, ...params } as z.output<Input>;
      return callOperation(operation, given, caller, parts);
    },
  });
}

const unseen: WhileLong = (work) => work(() => {});

/** Runs an operation for a caller, and returns its answer. @throws SidekeyError of the operation */
export async function callOperation<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  operation: Operation<Input, Output, Result>,
  input: z.output<Input>,
  caller: Caller & Pick<ApiCaller, 'address'>,
  { vault, keys, grants, now, env, proxy, ...parts }: ServiceParts,
): Promise<z.input<Output>> {
  const at = now();
  operation.check?.(input, at);
  const config = await parts.config();
  await operation.checkConfig?.(input, config);
  const common = {
    config,
    store: withRightsInMemory(parts.store),
    pages: parts.url(),
    caller,
    now,
    env,
    withFetch: <T>(use: (fetch: typeof globalThis.fetch) => Promise<T>) => use(parts.fetch()),
    onProgress() {},
    whileLong: unseen,
  };
  const opened = { ...common, vault, grants, audit: withOrigin(parts.audit, originOf(caller)) };
  const result =
    operation.effect !== 'change'
      ? await operation.run(
          {
            ...common,
            grants: () => grants.list(),
            vault: async () => vault,
            registry: async () => grants,
            withState: (use) => use(opened),
            proxy,
            vaultWithoutStore: async () => vault,
          },
          input,
          at,
        )
      : await operation.run({ ...opened, keys, listening: parts.listening }, input, at);
  return operation.answer(result, at);
}

/** Returns the shape of a member in a query, where a boolean is a word. */
function inQuery(shape: z.core.$ZodType): z.core.$ZodType {
  if (!(shape instanceof z.ZodOptional && shape.unwrap() instanceof z.ZodBoolean)) return shape;
  return z
    .stringbool()
    .optional()
    .meta(shape.meta() ?? {});
}
