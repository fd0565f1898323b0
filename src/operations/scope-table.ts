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
export interface Endpoint {
  /** Methods and path, as in the table. */
  readonly name: string;
  readonly needs: Needs;
}

type Seen = Readonly<Record<'method' | 'host' | 'path', string>>;

/** Returns the function that finds the endpoint of a request; null: it is not in the table. */
export function endpointFinder(table: ScopeTable): (seen: Seen) => Endpoint | null {
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
    const found = endpoints.find(
      ({ hosts, methods, globs }) =>
        hosts.includes(host) &&
        (methods.includes(wanted) || methods[0] === '*') &&
        globs.some(({ segments }) => matchesPath(segments, read.segments)),
    );
    return found ?? null;
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

/**
 * Compares the scopes of a grant with its requests. Keeps each scope that cannot be judged.
 *
 * @param seen one entry for each endpoint, or for each host with requests that are not in the table
 */
export function judgeScopes(
  table: ScopeTable,
  granted: readonly string[],
  seen: readonly { readonly host: string; readonly endpoint: Endpoint | null }[],
): Judgement {
  const prefixes = [table.prefix, table.also_prefix].filter((each) => each !== undefined);
  const bare = (scope: string) => scope.slice(prefixes.find((each) => scope.startsWith(each))?.length ?? 0);
  const names = new Map(granted.map((scope) => [bare(scope), scope]));
  const held = [...names.keys()];
  const reach = (scopes: Iterable<string>) => {
    const all = new Set(scopes);
    for (const scope of all) for (const narrower of table.includes[scope] ?? []) all.add(narrower);
    return all;
  };
  const reached = reach(held);
  const judged = new Set(scopesAt(table, null));
  const kept = new Set(held.filter((scope) => !judged.has(scope)));
  const unjudged = [...kept].filter((scope) => !table.always.includes(scope));
  const wants: (readonly string[])[] = [];
  let isComplete = seen.length > 0 && unjudged.length === 0;
  for (const { host, endpoint } of seen) {
    const { each = [], any = [] } = formOf(endpoint?.needs);
    const usable = any.filter((scope) => reached.has(scope));
    wants.push(...each.filter((scope) => reached.has(scope)).map((scope) => [scope]));
    if (usable.length > 0) wants.push(usable);
    else if (endpoint === null || any.length > 0) {
      isComplete = false;
      // Scopes that only other hosts take cannot matter for this one.
      const here = new Set(scopesAt(table, host));
      for (const scope of held)
        if (here.size === 0 || [...reach([scope])].some((each) => here.has(each))) kept.add(scope);
    }
  }
  const chosen = new Set(kept);
  for (const want of wants.toSorted((a, b) => a.length - b.length))
    if (!isMet(want, reach(chosen))) chosen.add(want[0]!);
  for (const scope of chosen) {
    const rest = reach([...chosen].filter((each) => each !== scope));
    if (!kept.has(scope) && wants.every((want) => isMet(want, rest))) chosen.delete(scope);
  }
  const prefixed = (scope: string) => (scope.includes('://') ? scope : `${table.prefix ?? ''}${scope}`);
  const written = (scope: string) => names.get(scope) ?? prefixed(scope);
  return { enough: [...chosen].map(written), unjudged: unjudged.map(written), isSmallest: isComplete };
}

function isMet(want: readonly string[], by: ReadonlySet<string>): boolean {
  return want.some((scope) => by.has(scope));
}

function formOf(needs: Needs = []): { readonly each?: readonly string[]; readonly any?: readonly string[] } {
  return 'each' in needs ? needs : { any: needs };
}

/** Returns the scopes that the endpoints of a host name; null: of all hosts. */
function scopesAt({ apis }: ScopeTable, host: string | null): readonly string[] {
  return apis
    .filter(({ hosts }) => host === null || hosts.includes(host))
    .flatMap(({ endpoints }) => Object.values(endpoints))
    .flatMap((needs) => ('each' in needs ? needs.each : needs));
}
