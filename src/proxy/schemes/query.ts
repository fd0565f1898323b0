import { z } from 'zod';
import { inTarget } from './credential.ts';
import {
  forgivingName,
  parameter,
  type Parameter,
  parameterName,
  parametersOf,
  replacing,
} from './parameters.ts';
import { type AuthScheme, refused } from './scheme.ts';

type QueryPlacement = { readonly kind: 'query'; readonly name: string };

/** A parameter of the query. Services repeat the query, and not the fields. */
export const query: AuthScheme<QueryPlacement, { readonly query: string }> = {
  kind: 'query',
  syntax: '{ query: NAME }',
  schemas: [z.strictObject({ query: parameterName('The parameter of the query.') })],
  parse: ({ query: name }) => ({ kind: 'query', name }),
  format: ({ name }) => ({ query: name }),
  describe: ({ name }) => `?${name}=…`,
  isRepeated: true,
  queryParameter: ({ name }) => name,
  prepare: ({ credential }, { name }) => inTarget(credential, (path, token) => queryWith(path, name, token)),
};

/**
 * Writes the credential in place of the first parameter of that name, and removes the others. Names are
 * compared as the most forgiving server reads them. All other bytes stay.
 *
 * @param path origin-form
 * @throws SidekeyError `policy_violation` if servers disagree whether the query has that parameter
 */
function queryWith(path: string, name: string, token: string): string {
  const own = parameter(name, token);
  const start = path.indexOf('?');
  if (start < 0) return `${path}?${own}`;
  const parameters = queryOf(path, new Set([forgivingName(name)]));
  return `${path.slice(0, start)}?${replacing(parameters, name, own).join('&')}`;
}

/**
 * Returns the parameters of a path's query, without empty ones.
 *
 * @param wanted names that must not be found within other parameters; see `parametersOf`
 * @throws SidekeyError `policy_violation`: one is
 */
export function queryOf(path: string, wanted: ReadonlySet<string>): readonly Parameter[] {
  const start = path.indexOf('?');
  const parameters = parametersOf(start < 0 ? '' : path.slice(start + 1), wanted);
  if (!('hidden' in parameters)) return parameters.filter(({ written }) => written !== '');
  const sentence = `The query has a parameter that some servers would read as ${parameters.hidden}, which Sidekey writes.`;
  throw refused(sentence, 'write a semicolon in the query as %3B');
}
