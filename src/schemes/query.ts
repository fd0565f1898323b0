import { forgivingName, parameter, type Parameter, parametersOf, replacing } from './parameters.ts';
import { type Carrier, conceal, refused } from './scheme.ts';

/** A token that is a parameter of the query. Servers repeat that, and not the fields. */
export function inQuery(name: string, token: string): Carrier {
  const secrets = { texts: [token] };
  return {
    fields: [],
    into: ({ path }) => ({
      path: queryWith(path, name, token),
      conceal: (answered) => conceal(answered, secrets),
    }),
  };
}

/**
 * A path whose query has the credential as one parameter, in the place of the first of that name; others of that name
 * go, as the most forgiving server reads it. The rest of the query stays byte by byte.
 *
 * @param path origin-form
 * @throws SidekeyError `policy_violation`: whether it has that parameter is a matter of how it is read
 */
function queryWith(path: string, name: string, token: string): string {
  const own = parameter(name, token);
  const start = path.indexOf('?');
  if (start < 0) return `${path}?${own}`;
  const parameters = queryOf(path, new Set([forgivingName(name)]));
  return `${path.slice(0, start)}?${replacing(parameters, name, own).join('&')}`;
}

/**
 * The parameters of a path's query, without empty ones.
 *
 * @param wanted names that must not hide within others; see `parametersOf`
 * @throws SidekeyError `policy_violation`: one does
 */
export function queryOf(path: string, wanted: ReadonlySet<string>): readonly Parameter[] {
  const start = path.indexOf('?');
  const parameters = parametersOf(start < 0 ? '' : path.slice(start + 1), wanted);
  if (!('hidden' in parameters)) return parameters.filter(({ written }) => written !== '');
  throw refused(
    `The query has a parameter that some servers would read as ${parameters.hidden}, which Sidekey writes.`,
    'write a semicolon in the query as %3B',
  );
}
