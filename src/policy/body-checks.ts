import type { JsonRpcCall } from './body-facts.ts';
import { matchesAny } from './glob.ts';
import type { GraphqlOperation } from './graphql.ts';
import type { ReadRequest } from './read-request.ts';
import type { GraphqlCondition, JsonRpcCondition, Verdict } from './rule.ts';

/** Asks which operations have one of the types and one of the names. */
export function graphqlTest({ types, names }: GraphqlCondition): (request: ReadRequest) => Verdict {
  const fits = ({ type, name }: GraphqlOperation) =>
    (types === null || types.includes(type)) && (names === null || matchesAny(names, name));
  return ({ operations }) => verdictOf(operations(), fits);
}

/** Where methods are named, `tools` narrows `tools/call` alone; where none are, only the calls of these tools fit. */
export function jsonRpcTest({ methods, tools }: JsonRpcCondition): (request: ReadRequest) => Verdict {
  const fits = ({ method, tool }: JsonRpcCall) => {
    if (method === null || (methods !== null && !matchesAny(methods, method))) return false;
    return tools === null || (tool === null ? methods !== null : matchesAny(tools, tool));
  };
  return ({ calls }) => verdictOf(calls, fits);
}

/** Yes where all that is asked for fits, no where nothing does; else nobody can tell what the condition is to mean. */
function verdictOf<T>(asked: readonly T[] | null, fits: (one: T) => boolean): Verdict {
  if (asked === null) return 'unclear';
  const isAny = asked.some(fits);
  if (!isAny) return 'no';
  return asked.every(fits) ? 'yes' : 'unclear';
}
