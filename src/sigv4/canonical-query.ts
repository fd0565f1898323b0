import { uriReencode } from './uri-encoding.ts';

/** One parameter, both parts as SigV4 writes them. */
type Parameter = readonly [name: string, value: string];

/**
 * The query as it is signed: each name and value written in one way, sorted by name and then by value.
 *
 * @param query as it stands in the request, without `?`
 */
export function canonicalQuery(query: string): string {
  if (query === '') return '';
  const parameters: Parameter[] = [];
  for (const written of query.split('&')) {
    if (written === '') continue;
    const equals = written.indexOf('=');
    const name = equals < 0 ? written : written.slice(0, equals);
    const value = equals < 0 ? '' : written.slice(equals + 1);
    parameters.push([uriReencode(name), uriReencode(value)]);
  }
  return parameters
    .toSorted(inOrder)
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** By bytes; what is compared is ASCII. */
function inOrder(a: Parameter, b: Parameter): number {
  if (a[0] !== b[0]) return a[0] < b[0] ? -1 : 1;
  return a[1] === b[1] ? 0 : a[1] < b[1] ? -1 : 1;
}
