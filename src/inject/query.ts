import type { Carrier } from './carrier.ts';
import { conceal } from './conceal.ts';

/** A token that is a parameter of the query. Servers repeat that, and not the fields. */
export function inQuery(name: string, token: string): Carrier {
  return {
    fields: [],
    into: ({ path }) => ({
      path: queryWith(path, name, token),
      conceal: (answered) => conceal(answered, token),
    }),
  };
}

/**
 * A path whose query has the credential as one parameter, in the place of the first of that name; others of that name
 * go. The rest of the query stays byte by byte.
 *
 * @param path origin-form
 */
export function queryWith(path: string, name: string, token: string): string {
  const own = `${name}=${encodeURIComponent(token)}`;
  const start = path.indexOf('?');
  if (start < 0) return `${path}?${own}`;
  let placed = false;
  const kept: string[] = [];
  for (const parameter of path.slice(start + 1).split('&')) {
    if (!isNamed(parameter, name)) kept.push(parameter);
    else if (!placed) {
      placed = true;
      kept.push(own);
    }
  }
  if (!placed) kept.push(own);
  return `${path.slice(0, start)}?${kept.filter((parameter) => parameter !== '').join('&')}`;
}

/** As a server would read it: decoded, so that `k%65y` is `key` too. */
function isNamed(parameter: string, name: string): boolean {
  const [written = ''] = parameter.split('=', 1);
  return new URLSearchParams(`${written}=`).has(name);
}
