import { isUnread, readPath } from '../proxy/policy/path.ts';
import type { AuditLine } from '../domain/event.ts';
import { withoutWaiting } from './waiting.ts';

/** Use of a grant by an agent, in numbers. */
export interface SummaryRow {
  /** Name of the agent; null: the caller named none. */
  readonly agent: string | null;
  /** Id of the grant; null: allowed without one, or refused before one was selected. */
  readonly grant: string | null;
  /** Exchanges and tunnels that were allowed. */
  readonly requests: number;
  readonly refusals: number;
  /** Allowed exchanges and tunnels that failed or were aborted. */
  readonly failures: number;
  /** Body bytes from the client and to the client. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Milliseconds, to within 1 %; null: nothing was timed. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** Time of the last line, including refusals: ISO 8601. */
  readonly lastUse: string;
}

type Counted = { -readonly [K in keyof Omit<SummaryRow, 'p50' | 'p99'>]: SummaryRow[K] } & {
  readonly durations: ReturnType<typeof createQuantiles>;
};

const counted: ReadonlySet<string> = new Set(['access', 'outcome', 'denied', 'tunnel']);

/**
 * Counts lines about requests, most requests first. Keeps in memory one entry per agent and grant, and one
 * per exchange without an outcome.
 */
export async function summarize(lines: AsyncIterable<AuditLine>): Promise<SummaryRow[]> {
  const rows = new Map<string, Counted>();
  /** Exchanges that have begun. An exchange has a second access if its token was refused and refreshed. */
  const begun = new Set<string>();
  for await (const line of withoutWaiting(lines)) {
    if (!counted.has(line.event)) continue;
    const { agent = null, grant = null, exchange = '' } = line;
    const key = JSON.stringify([agent, grant]);
    let row = rows.get(key);
    if (row === undefined) {
      const zeros = { requests: 0, refusals: 0, failures: 0, bytesIn: 0, bytesOut: 0 };
      row = { agent, grant, ...zeros, lastUse: line.time, durations: createQuantiles() };
      rows.set(key, row);
    }
    if (line.event === 'denied') row.refusals += 1;
    else if (line.event !== 'access') begun.delete(exchange);
    else if (!begun.has(exchange)) {
      row.requests += 1;
      if (exchange !== '') begun.add(exchange);
    }
    if (line.event === 'outcome') {
      if (line.outcome !== 'ok') row.failures += 1;
      if (line.duration_ms !== undefined) row.durations.add(line.duration_ms);
    }
    row.bytesIn += line.bytes_in ?? 0;
    row.bytesOut += line.bytes_out ?? 0;
    if (line.time > row.lastUse) row.lastUse = line.time;
  }
  return Array.from(rows.values(), ({ durations, ...row }) => ({
    ...row,
    p50: durations.at(0.5),
    p99: durations.at(0.99),
  })).toSorted((a, b) => b.requests + b.refusals - (a.requests + a.refusals));
}

/**
 * Quantiles of non-negative numbers to within 1 %, in some hundred counters whose bounds grow by 2 %
 * (DDSketch: Masson, Rim, Lee, VLDB 2019, §2).
 */
export function createQuantiles() {
  const growth = Math.log(1.02);
  const counts = new Map<number, number>();
  let zeros = 0;
  let total = 0;
  return {
    add(value: number): void {
      if (!(value >= 0) || value === Infinity) return;
      total += 1;
      // Less than a microsecond counts as zero.
      if (value < 0.001) zeros += 1;
      else {
        const bucket = Math.ceil(Math.log(value) / growth);
        counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
      }
    },
    /** Returns the value that this share of the numbers does not exceed; null without numbers. */
    at(share: number): number | null {
      if (total === 0) return null;
      let left = Math.max(1, Math.ceil(share * total)) - zeros;
      if (left <= 0) return 0;
      for (const [bucket, count] of [...counts].toSorted(([a], [b]) => a - b)) {
        left -= count;
        if (left <= 0) return Math.round(((2 * Math.exp(bucket * growth)) / 2.02) * 1_000) / 1_000;
      }
      return null;
    },
  };
}

/*
 * The refused requests of agents by host, for entries of the domain map that allow exactly what was
 * requested. Memory is bounded: a maximum of hosts, and of methods and paths for each host.
 */

/** A host that agents requested. */
export interface DiscoveredHost {
  readonly host: string;
  /** Port of the host; null means 443. */
  readonly port: number | null;
  /** True if it was requested over plain http. */
  readonly plainHttp: boolean;
  readonly refusals: ReadonlyMap<string, number>;
  /** Number of requests allowed only because the rules report, by the code of the refusal. */
  readonly reports: ReadonlyMap<string, number>;
  /** Number of tunnels to a host without an entry. */
  readonly tunneled: number;
  readonly agents: readonly string[];
  /** Requests to the host; empty if there were only tunnels, whose content is unknown. */
  readonly requests: readonly DiscoveredRequest[];
  /** Time of the last request: ISO 8601. */
  readonly lastSeen: string;
}

/** Requests of one method. */
export interface DiscoveredRequest {
  readonly method: string;
  /** Globs of a rule that match these requests. */
  readonly paths: readonly string[];
  readonly seen: readonly SeenRequest[];
}

/** A requested path, and the last request for it. */
export interface SeenRequest {
  /** Raw, without its query. */
  readonly path: string;
  readonly agent: string | null;
  readonly user: string | null;
  /** Address and port. */
  readonly client: string;
  readonly reason: string | null;
}

interface SeenHost {
  readonly host: string;
  readonly port: number | null;
  plainHttp: boolean;
  readonly refusals: Map<string, number>;
  readonly reports: Map<string, number>;
  tunneled: number;
  readonly agents: Set<string>;
  /** Requests by method, then by path. */
  readonly paths: Map<string, Map<string, SeenRequest>>;
  lastSeen: string;
}

const maxHosts = 1_000;
const maxPathsKept = 200;

/** Codes of refusals that an entry of the domain map, or a rule, can lift. */
const liftable: ReadonlySet<string> = new Set(['domain_not_allowed', 'rule_denied', 'insecure_transport']);

/**
 * Collects the hosts, most refusals first.
 *
 * @param isListed Reports whether the map has an entry for this host and port.
 */
export async function discoverHosts(
  lines: AsyncIterable<AuditLine>,
  isListed: (scheme: 'http' | 'https', host: string, port: number) => boolean,
): Promise<DiscoveredHost[]> {
  const hosts = new Map<string, SeenHost>();
  for await (const line of lines) {
    const { host, code, event } = line;
    if (host === undefined) continue;
    const plainHttp = line.scheme === 'http';
    const port = line.port ?? (plainHttp ? 80 : 443);
    const isLiftable = code !== undefined && liftable.has(code);
    const isRefused = isLiftable && (event === 'denied' || event === 'policy.reported');
    const isUnlisted = event === 'tunnel' && !isListed(plainHttp ? 'http' : 'https', host, port);
    if (!isRefused && !isUnlisted) continue;
    const isDefault = port === (plainHttp ? 80 : 443);
    // Same form as the keys of the map, so that no two hosts share one.
    const key = isDefault ? host : `${host}:${port}`;
    let seen = hosts.get(key);
    if (seen === undefined) {
      if (hosts.size >= maxHosts) continue;
      seen = {
        host,
        port: isDefault ? null : port,
        plainHttp,
        tunneled: 0,
        lastSeen: line.time,
        refusals: new Map(),
        reports: new Map(),
        agents: new Set(),
        paths: new Map(),
      };
      hosts.set(key, seen);
    }
    seen.plainHttp ||= plainHttp;
    note(seen, line, isRefused ? (code ?? null) : null);
  }
  const count = ({ refusals, reports, tunneled }: DiscoveredHost) =>
    tunneled + [...refusals.values(), ...reports.values()].reduce((sum, each) => sum + each, 0);
  return Array.from(hosts.values(), described).toSorted((a, b) => count(b) - count(a));
}

/** Successful requests with one grant whose answers may have handed out credentials. */
export interface CredentialAnswers {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  /** ID of the grant. */
  readonly grant: string;
  readonly times: number;
  readonly lastSeen: string;
}

/** Last parts of paths at which services hand out credentials. */
const credentialPath =
  /(?:^|[/_.-])(?:tokens?|credentials?|api[_-]?keys?|secrets?|register|sessions?)(?:\/[^/]*)?\/?$/i;
/** Maximum bytes of an answer with a credential. */
const mostBytes = 65_536;

/** Returns the line of an answer that may have handed out a credential; null: it did not. */
export function credentialAnswer(line: AuditLine): CredentialAnswers | null {
  const { event, status = 0, grant, host, method, path, bytes_out: bytes = 0, time } = line;
  if (event !== 'outcome' || status < 200 || status > 299 || bytes === 0 || bytes > mostBytes) return null;
  if (grant === undefined || host === undefined || method === undefined || path === undefined) return null;
  if (!credentialPath.test(path) || method === 'HEAD' || method === 'OPTIONS') return null;
  return { method, host, path: path.split('/').map(idToStar).join('/'), grant, times: 1, lastSeen: time };
}

function note(seen: SeenHost, line: AuditLine, code: string | null): void {
  const counts = line.event === 'policy.reported' ? seen.reports : seen.refusals;
  if (code === null) seen.tunneled += 1;
  else counts.set(code, (counts.get(code) ?? 0) + 1);
  const { agent = null, user = null, client = '', reason = null, method, path } = line;
  if (agent !== null) seen.agents.add(agent);
  if (line.time > seen.lastSeen) seen.lastSeen = line.time;
  if (method === undefined || method === 'CONNECT' || path === undefined) return;
  const paths = seen.paths.get(method) ?? new Map<string, SeenRequest>();
  seen.paths.set(method, paths);
  if (paths.size >= maxPathsKept && !paths.has(path)) return;
  // The reason of a report is that of the rules, not of the caller.
  const given = line.event === 'policy.reported' ? null : reason;
  paths.set(path, { path, agent, user, client, reason: given });
}

function described({ paths, agents, ...seen }: SeenHost): DiscoveredHost {
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

/** Maximum number of listed paths. Longer lists are reduced to what the paths have in common. */
const maxPathsListed = 8;

/**
 * Returns globs of a rule that match the paths: the paths themselves if they are few, else with `*` for
 * segments that look like ids, else common prefixes. A path that no rule with `paths` can match has no glob.
 */
export function pathGlobs(paths: readonly string[]): string[] {
  const plain = [...new Set(paths.flatMap((path) => literal(path) ?? []))].toSorted();
  if (plain.length <= maxPathsListed) return plain;
  const shapes = [...new Set(plain.map((path) => path.split('/').map(idToStar).join('/')))].toSorted();
  if (shapes.length <= maxPathsListed) return shapes;
  const byFirst = Map.groupBy(shapes, (shape) => shape.split('/')[1] ?? '');
  const prefixes = Array.from(byFirst.values(), (group) =>
    group.length === 1 ? (group[0] ?? '/') : commonPrefix(group),
  );
  return prefixes.length <= maxPathsListed ? prefixes.toSorted() : ['/**'];
}

/** Returns the decoded path as a glob; a segment that a glob cannot express becomes a star. */
function literal(path: string): string | null {
  const read = readPath(path);
  if (isUnread(read)) return null;
  return `/${read.segments.map((segment) => (/[%*]/.test(segment) ? '*' : segment)).join('/')}`;
}

/** Replaces a segment that is a number, a UUID, a hash, or a long word with digits, by a star. */
export function idToStar(segment: string): string {
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
