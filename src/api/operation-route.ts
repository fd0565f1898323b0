import { z } from 'zod';
import { withOrigin } from '../audit/log.ts';
import type { Operation } from '../operations/operation.ts';
import type { Caller } from '../operations/caller.ts';
import type { Caller as ApiCaller } from './caller.ts';
import type { ServiceParts } from './parts.ts';
import { usualLimit } from './paging.ts';
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
  login: 'Grants',
  node: 'Status',
  person: 'People',
  proposal: 'Proposals',
  provider: 'Providers',
  request: 'Clients',
};

interface OperationPlace extends Pick<AnyRoute, 'id' | 'isLong'> {
  readonly status?: 201;
  /** Words of its command; default: the words of the operation (`lease create`); null: no command. */
  readonly command?: string | null;
  /** Member that is the key of an entry; present only for a list. */
  readonly list?: string;
  /** Members that the query has, where the method has a body. */
  readonly query?: readonly string[];
  /** Owner of the resource. If present, a caller that is limited to a user may use the route (`Route`). */
  readonly owner?: (given: AnyGiven, parts: ServiceParts) => string | null | Promise<string | null>;
}

/** A request to the route of an operation. */
export type AnyGiven = Given<Record<string, unknown> | undefined, Record<string, unknown> | undefined>;

/**
 * Returns the route of an operation. Members of the input that the path names are path parameters. GET and
 * DELETE take the others from the query, other methods from the body, except those that `query` names.
 *
 * @param at method and path: `POST /v2/leases/{lease}/renew`
 */
export function operationRoute<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  operation: Operation<Input, Output, Result>,
  at: `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} ${string}`,
  {
    list,
    command = operation.id.replace('.', ' ').replaceAll('_', '-'),
    query: inQuery = [],
    ...place
  }: OperationPlace,
): AnyRoute {
  const { summary, scope, input, output, machineOnly = [] } = operation;
  const [verb = '', path = ''] = at.split(' ');
  const method = verb.toLowerCase() as AnyRoute['method'];
  const inPath = Array.from(path.matchAll(/\{(\w+)\}/g), ([, member = '']) => member);
  const rest = Object.entries(input.shape).filter(
    ([member]) => !inPath.includes(member) && !machineOnly.includes(member),
  );
  const hasBody = method !== 'get' && method !== 'delete';
  const placed = Object.groupBy(rest, ([member]) =>
    hasBody && !inQuery.includes(member) ? 'body' : 'query',
  );
  const inUrl = placed.query?.map(([member, shape]) => [member, queryShape(shape)]);
  const carried = {
    ...(inUrl && { query: z.strictObject(Object.fromEntries(inUrl)) }),
    ...(placed.body && { body: z.strictObject(Object.fromEntries(placed.body)) }),
  };
  return route<AnyGiven['query'], AnyGiven['body']>({
    ...place,
    ...(carried as object),
    operations: [operation.id],
    tag: tags[operation.id.split('.', 1)[0]!]!,
    commands: command === null ? [] : [command],
    method,
    path,
    summary,
    scope,
    result: list === undefined ? output : (output as unknown as z.ZodArray<z.ZodType>).element,
    ...(list === undefined ? {} : { list: (entry: Record<string, string>) => entry[list]! }),
    async handle({ params, query, body, caller, signal }, parts) {
      const { limit = usualLimit, cursor, ...filter } = query ?? {};
      const page = operation.next === undefined ? {} : { limit, cursor };
      const given = { ...filter, ...page, ...body, ...params } as z.output<Input>;
      const { answer, result } = await perform(operation, given, caller, { ...parts, signal });
      if (operation.next === undefined) return answer;
      return { data: answer as unknown as readonly unknown[], next_cursor: operation.next(result) };
    },
  });
}

/** Runs an operation for a caller, and returns its answer. @throws SidekeyError of the operation */
export async function callOperation<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  ...call: Parameters<typeof perform<Input, Output, Result>>
): Promise<z.input<Output>> {
  return (await perform(...call)).answer;
}

async function perform<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  operation: Operation<Input, Output, Result>,
  input: z.output<Input>,
  caller: Caller & Pick<ApiCaller, 'address'>,
  {
    vault,
    keys,
    grants,
    listening,
    now,
    env,
    proxy,
    ...parts
  }: ServiceParts & Partial<Pick<AnyGiven, 'signal'>>,
): Promise<{ readonly answer: z.input<Output>; readonly result: Result }> {
  const at = now();
  operation.check?.(input, at);
  const config = await parts.config();
  await operation.checkConfig?.(input, config, at);
  const common = {
    config,
    store: parts.store,
    pages: parts.url(),
    caller,
    now,
    env,
    withFetch: <T>(use: (fetch: typeof globalThis.fetch) => Promise<T>) => use(parts.fetch()),
    during: <T>(_step: string, work: (onShare: () => void) => Promise<T>) => work(() => {}),
    onInterrupt: () => () => {},
    ...(parts.signal && { signal: parts.signal }),
  };
  const audit = withOrigin(parts.audit, originOf(caller));
  const opened = { ...common, vault, grants, audit };
  const renewal = (fetch: typeof globalThis.fetch) => parts.renewal({ config, audit, fetch });
  const result =
    operation.effect !== 'change'
      ? await operation.run(
          {
            ...common,
            vault: async () => vault,
            registry: async () => grants,
            withState: (use) => use(opened),
            proxy,
            probePrograms: parts.probePrograms,
            vaultWithoutStore: async () => vault,
          },
          input,
          at,
        )
      : await operation.run({ ...opened, keys, renewal, listening, onProgress() {} }, input, at);
  return { answer: operation.answer(result, at), result };
}

/** Returns the shape of a member in a query, where a boolean is a word. */
function queryShape(shape: z.core.$ZodType): z.core.$ZodType {
  if (!(shape instanceof z.ZodOptional && shape.unwrap() instanceof z.ZodBoolean)) return shape;
  return z
    .stringbool()
    .optional()
    .meta(shape.meta() ?? {});
}
