import { parseConfigDocument } from '../config/document.ts';
import { packageText, shippedFile } from '../lib/package-files.ts';
import { isUnread, matchesPath, parsePathGlob, readPath } from '../proxy/policy/path.ts';

/** Scopes that endpoints of a service need, from `config/scopes.yaml`, which explains the members. */
interface ScopeTable {
  readonly title: string;
  readonly providers: readonly string[];
  readonly docs: readonly string[];
  readonly prefix?: string;
  readonly also_prefix?: string;
  readonly always: readonly string[];
  readonly includes: Readonly<Record<string, readonly string[]>>;
  readonly apis: readonly {
    readonly hosts: readonly string[];
    readonly endpoints: Readonly<Record<string, Needs>>;
  }[];
}

/** Any one of the scopes, or each that the grant has. */
type Needs = readonly string[] | { readonly each: readonly string[] };

let tables: readonly ScopeTable[] | undefined;

/** Returns all tables. They are read once. */
export function scopeTables(): readonly ScopeTable[] {
  tables ??= parseConfigDocument(packageText(shippedFile('scopes.yaml'))).value as readonly ScopeTable[];
  return tables;
}

/** An endpoint of a table. */
interface Endpoint {
  /** Methods and path, as in the table. */
  readonly name: string;
  readonly needs: Needs;
}

type RequestLine = Readonly<Record<'method' | 'host' | 'path', string>>;

/** Returns the function that finds the endpoint of a request; null: it is not in the table. */
export function endpointFinder(table: ScopeTable): (request: RequestLine) => Endpoint | null {
  const endpoints = table.apis.flatMap(({ hosts, endpoints: all }) =>
    Object.entries(all).map(([name, needs]) => {
      const [methods = '', path = ''] = name.split(' ');
      const glob = parsePathGlob(path);
      return { name, needs, hosts, methods: methods.split(','), globs: 'problem' in glob ? [] : [glob] };
    }),
  );
  return ({ method, host, path }) => {
    const read = readPath(path);
    if (isUnread(read)) return null;
    const wanted = method === 'HEAD' ? 'GET' : method;
    const endpoint = endpoints.find(
      ({ hosts, methods, globs }) =>
        hosts.includes(host) &&
        (methods.includes(wanted) || methods[0] === '*') &&
        globs.some(({ segments }) => matchesPath(segments, read.segments)),
    );
    return endpoint ?? null;
  };
}

/** Scopes that the requests of a grant needed, as the provider writes them. */
interface Judgement {
  /** Scopes that would do. */
  readonly enough: readonly string[];
  /** Scopes that are kept because the table does not say what they are for. */
  readonly unjudged: readonly string[];
  /** True if no smaller set would do. */
  readonly isSmallest: boolean;
}

/** Requests for one endpoint, or for a path that is not in the table. */
export interface Place {
  readonly host: string;
  readonly endpoint: Endpoint | null;
  /** True: the service refused each of them (401, 403), for want of a scope or for another reason. */
  readonly isRefused?: boolean;
}

/** Compares the scopes of a grant with its requests. Keeps each scope that cannot be judged. */
export function judgeScopes(
  table: ScopeTable,
  granted: readonly string[],
  places: readonly Place[],
): Judgement {
  const prefixes = [table.prefix, table.also_prefix].filter((each) => each !== undefined);
  const bare = (scope: string) => scope.slice(prefixes.find((each) => scope.startsWith(each))?.length ?? 0);
  const names = new Map(granted.map((scope) => [bare(scope), scope]));
  const prefixOf = (scope: string) => (scope.includes('://') ? '' : (table.prefix ?? ''));
  const written = (scope: string) => names.get(scope) ?? `${prefixOf(scope)}${scope}`;
  const reach = (scopes: Iterable<string>) => {
    const all = new Set(scopes);
    for (const scope of all) for (const narrower of table.includes[scope] ?? []) all.add(narrower);
    return all;
  };
  const scopes = [...names.keys()];
  const reached = reach(scopes);
  const judged = new Set(scopesAt(table, null));
  const fixed = new Set(scopes.filter((scope) => !judged.has(scope)));
  const unjudged = [...fixed].filter((scope) => !table.always.includes(scope)).map(written);
  if (places.length === 0) return { enough: granted, unjudged, isSmallest: false };
  const wants: (readonly string[])[] = [];
  let isSmallest = unjudged.length === 0;
  for (const { host, endpoint, isRefused = false } of places) {
    const needs = endpoint?.needs ?? [];
    const lists = 'each' in needs ? needs.each.map((scope) => [scope]) : [needs];
    const usable = lists.map((any) => any.filter((scope) => reached.has(scope))).filter(isFilled);
    wants.push(...usable);
    const isFree = 'each' in needs || needs.length === 0 || isRefused;
    if (endpoint !== null && (isFree || usable.length > 0)) continue;
    isSmallest = false;
    // Scopes that only other hosts take cannot matter for this one.
    const here = new Set(scopesAt(table, host));
    for (const scope of scopes)
      if (here.size === 0 || [...reach([scope])].some((each) => here.has(each))) fixed.add(scope);
  }
  const enough = new Set(fixed);
  for (const want of wants.toSorted((a, b) => a.length - b.length))
    if (!isMet(want, reach(enough))) enough.add(want[0]!);
  for (const scope of enough) {
    const rest = reach([...enough].filter((each) => each !== scope));
    if (!fixed.has(scope) && wants.every((want) => isMet(want, rest))) enough.delete(scope);
  }
  return { enough: [...enough].map(written), unjudged, isSmallest };
}

const isFilled = ({ length }: readonly string[]) => length > 0;
const isMet = (want: readonly string[], by: ReadonlySet<string>) => want.some((scope) => by.has(scope));

/** Returns the scopes that the endpoints of a host name; null: of all hosts. */
function scopesAt({ apis }: ScopeTable, host: string | null): readonly string[] {
  return apis
    .filter(({ hosts }) => host === null || hosts.includes(host))
    .flatMap(({ endpoints }) => Object.values(endpoints))
    .flatMap((needs) => ('each' in needs ? needs.each : needs));
}
