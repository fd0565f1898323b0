import { isUnread, readPath } from '../policy/path.ts';
import type { AuditLine } from './event.ts';

/**
 * What agents asked for and were not given, by host: the material for entries of the domain map that allow exactly what
 * was seen. Memory is bounded: of each host a bounded number of methods and paths, of all a bounded number of hosts.
 */

/** A host that was asked for. */
export interface DiscoveredHost {
  readonly host: string;
  /** Null: 443. */
  readonly port: number | null;
  /** Whether it was asked for over plain http. */
  readonly insecure: boolean;
  /** How often it was refused, by code. */
  readonly refusals: ReadonlyMap<string, number>;
  /** How often it was let through only because rules report, and would have been refused, by code. */
  readonly reports: ReadonlyMap<string, number>;
  /** How often it was tunneled without an entry of its own. */
  readonly tunneled: number;
  readonly agents: readonly string[];
  /** What the requests were; empty where only tunnels were asked for, inside of which nobody looked. */
  readonly requests: readonly DiscoveredRequest[];
  /** ISO 8601. */
  readonly lastSeen: string;
}

/** Requests of one method. */
export interface DiscoveredRequest {
  readonly method: string;
  /** Globs of a rule that cover what was seen. */
  readonly paths: readonly string[];
  readonly seen: readonly SeenRequest[];
}

/** A path that was asked for, and who did so last. */
export interface SeenRequest {
  /** Raw, without its query. */
  readonly path: string;
  readonly agent: string | null;
  readonly user: string | null;
  /** Address and port. */
  readonly client: string;
  readonly reason: string | null;
}

interface Seen {
  readonly host: string;
  readonly port: number | null;
  insecure: boolean;
  readonly refusals: Map<string, number>;
  readonly reports: Map<string, number>;
  tunneled: number;
  readonly agents: Set<string>;
  /** By method, then by path. */
  readonly paths: Map<string, Map<string, SeenRequest>>;
  lastSeen: string;
}

const mostHosts = 1_000;
const mostPathsKept = 200;

/** Codes of refusals that an entry of the domain map, or a rule, would lift. */
const liftable: ReadonlySet<string> = new Set(['domain_not_allowed', 'rule_denied', 'insecure_transport']);

/**
 * Gathers the hosts, those refused most often first.
 *
 * @param isListed Whether the map has an entry for a host and port of its own.
 */
export async function discoverHosts(
  lines: AsyncIterable<AuditLine>,
  isListed: (scheme: 'http' | 'https', host: string, port: number) => boolean,
): Promise<DiscoveredHost[]> {
  const hosts = new Map<string, Seen>();
  for await (const line of lines) {
    const { host, code, event } = line;
    if (host === undefined) continue;
    const insecure = line.scheme === 'http';
    const port = line.port ?? (insecure ? 80 : 443);
    const isLiftable = code !== undefined && liftable.has(code);
    const isRefused = isLiftable && (event === 'denied' || event === 'policy.reported');
    const isUnlisted = event === 'tunnel' && !isListed(insecure ? 'http' : 'https', host, port);
    if (!isRefused && !isUnlisted) continue;
    const isDefault = port === (insecure ? 80 : 443);
    // As a key of the map says it, so that no two have the same.
    const key = isDefault ? host : `${host}:${port}`;
    let seen = hosts.get(key);
    if (seen === undefined) {
      if (hosts.size >= mostHosts) continue;
      seen = {
        host,
        port: isDefault ? null : port,
        insecure,
        tunneled: 0,
        lastSeen: line.time,
        refusals: new Map(),
        reports: new Map(),
        agents: new Set(),
        paths: new Map(),
      };
      hosts.set(key, seen);
    }
    seen.insecure ||= insecure;
    note(seen, line, isRefused ? (code ?? null) : null);
  }
  const count = ({ refusals, reports, tunneled }: DiscoveredHost) =>
    tunneled + [...refusals.values(), ...reports.values()].reduce((sum, each) => sum + each, 0);
  return Array.from(hosts.values(), described).toSorted((a, b) => count(b) - count(a));
}

function note(seen: Seen, line: AuditLine, code: string | null): void {
  const counts = line.event === 'policy.reported' ? seen.reports : seen.refusals;
  if (code === null) seen.tunneled += 1;
  else counts.set(code, (counts.get(code) ?? 0) + 1);
  const { agent = null, user = null, client = '', reason = null, method, path } = line;
  if (agent !== null) seen.agents.add(agent);
  if (line.time > seen.lastSeen) seen.lastSeen = line.time;
  if (method === undefined || method === 'CONNECT' || path === undefined) return;
  const paths = seen.paths.get(method) ?? new Map<string, SeenRequest>();
  seen.paths.set(method, paths);
  if (paths.size >= mostPathsKept && !paths.has(path)) return;
  // What a report says is the reason of the rules, not of the caller.
  const given = line.event === 'policy.reported' ? null : reason;
  paths.set(path, { path, agent, user, client, reason: given });
}

function described({ paths, agents, ...seen }: Seen): DiscoveredHost {
  const requests = Array.from(paths, ([method, ofMethod]) => ({
    method,
    paths: pathGlobs([...ofMethod.keys()]),
    seen: [...ofMethod.values()],
  }));
  return {
    ...seen,
    agents: [...agents].toSorted(),
    requests: requests.toSorted((a, b) => (a.method < b.method ? -1 : 1)),
  };
}

/** More paths than these are told by what they have in common. */
const mostPathsTold = 8;

/**
 * Globs of a rule that cover the paths: the paths themselves, where they are few; else with `*` for what looks like an
 * id; else what they have in common, down to its last whole segment. A path that no rule with `paths` lets through is
 * covered by none.
 */
export function pathGlobs(paths: readonly string[]): string[] {
  const plain = [...new Set(paths.flatMap((path) => literal(path) ?? []))].toSorted();
  if (plain.length <= mostPathsTold) return plain;
  const shapes = [...new Set(plain.map((path) => path.split('/').map(idToStar).join('/')))].toSorted();
  if (shapes.length <= mostPathsTold) return shapes;
  const byFirst = Map.groupBy(shapes, (shape) => shape.split('/')[1] ?? '');
  const prefixes = Array.from(byFirst.values(), (group) =>
    group.length === 1 ? (group[0] ?? '/') : commonPrefix(group),
  );
  return prefixes.length <= mostPathsTold ? prefixes.toSorted() : ['/**'];
}

/** A path as a glob that covers it: decoded as rules read it; what no glob can say becomes a star. */
function literal(path: string): string | null {
  const read = readPath(path);
  if (isUnread(read)) return null;
  return `/${read.segments.map((segment) => (/[%*]/.test(segment) ? '*' : segment)).join('/')}`;
}

/** Numbers, UUIDs, hashes, and long words with digits in them. */
function idToStar(segment: string): string {
  const isId = /^(?:\d+|[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=.*\d)[\w-]{16,})$/i.test(
    segment,
  );
  return isId ? '*' : segment;
}

function commonPrefix(paths: readonly string[]): string {
  const [first = [], ...rest] = paths.map((path) => path.split('/').slice(1));
  let same = 0;
  while (same < first.length && rest.every((segments) => segments[same] === first[same])) same += 1;
  return `/${[...first.slice(0, same), '**'].join('/')}`;
}
