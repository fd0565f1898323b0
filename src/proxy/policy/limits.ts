import { type FailureCode } from '../../lib/failures.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { LimitScope, RuleLimit } from './rule.ts';

/**
 * Limits and timeouts of the proxy, with default, unit, and error code. `limits` of the config overrides
 * them. `ms` values are milliseconds; 0 means none if the description says so.
 */

interface Limit {
  readonly default: number;
  readonly unit: 'bytes' | 'ms' | 'count';
  /** Error code if the limit is exceeded; null: the connection is closed. */
  readonly code: FailureCode | null;
  readonly what: string;
  /** Minimum value. */
  readonly least: number;
}

/** The table, with the names of the config file. */
export const limitTable = {
  head_bytes: {
    default: 65_536,
    unit: 'bytes',
    least: 1_024,
    code: 'bad_request',
    what: 'first line and header fields of a request or a response together',
  },
  head_fields: {
    default: 200,
    unit: 'count',
    least: 10,
    code: 'bad_request',
    what: 'header fields of a request, or of a response',
  },
  head_timeout: {
    default: 15_000,
    unit: 'ms',
    least: 10,
    code: 'bad_request',
    what: 'from the first byte of a request to the end of its head',
  },
  body_bytes: {
    default: 0,
    unit: 'bytes',
    least: 0,
    code: 'body_too_large',
    what: 'a request body (0: no limit)',
  },
  rule_body_bytes: {
    default: 65_536,
    unit: 'bytes',
    least: 0,
    code: null,
    what: 'of a request body read ahead, where a rule asks what is in it; a longer one cannot be read',
  },
  approval_body_bytes: {
    default: 1_048_576,
    unit: 'bytes',
    least: 0,
    code: 'body_too_large',
    what: 'a request body that waits for a person to approve it; it is read first',
  },
  signed_body_bytes: {
    default: 16_777_216,
    unit: 'bytes',
    least: 1_024,
    code: 'body_too_large',
    what: 'a request body, or a chunk of one, that is read before it is signed; most of S3 is not',
  },
  injected_body_bytes: {
    default: 1_048_576,
    unit: 'bytes',
    least: 0,
    code: 'body_too_large',
    what: 'a request body that receives the credential; it is read first',
  },
  placeholder_body_bytes: {
    default: 1_048_576,
    unit: 'bytes',
    least: 1_024,
    code: 'placeholder_misused',
    what: 'of a request body with a length that may have placeholders: how much is read ahead to find one',
  },
  replay_bytes: {
    default: 65_536,
    unit: 'bytes',
    least: 0,
    code: null,
    what: 'of a request body kept, so that it can be sent again after an upstream 401 or a lost connection',
  },
  client_body_idle: {
    default: 60_000,
    unit: 'ms',
    least: 10,
    code: 'bad_request',
    what: 'a client that has announced a body without a byte of it, while the proxy waits for one',
  },
  client_idle: {
    default: 300_000,
    unit: 'ms',
    least: 10,
    code: null,
    what: 'a client connection without a request',
  },
  client_handshake: {
    default: 10_000,
    unit: 'ms',
    least: 10,
    code: null,
    what: 'the TLS handshake of a client inside CONNECT',
  },
  client_connections: {
    default: 10_000,
    unit: 'count',
    least: 1,
    code: 'overloaded',
    what: 'client connections at once, of each worker',
  },
  agent_exchanges: {
    default: 1_000,
    unit: 'count',
    least: 1,
    code: 'overloaded',
    what: 'exchanges and blind tunnels of one agent at once, of each worker; callers without a token count as one agent',
  },
  pipelined_requests: {
    default: 64,
    unit: 'count',
    least: 1,
    code: null,
    what: 'requests of one client connection that are not answered yet, over HTTP/1.1',
  },
  client_streams: {
    default: 100,
    unit: 'count',
    least: 1,
    code: null,
    what: 'requests of one client connection that are answered at once, over HTTP/2',
  },
  upstream_connect: {
    default: 10_000,
    unit: 'ms',
    least: 10,
    code: 'upstream_timeout',
    what: 'name look-up, TCP, the tunnel of upstream.proxy and the TLS handshake with an upstream',
  },
  upstream_head: {
    default: 600_000,
    unit: 'ms',
    least: 10,
    code: 'upstream_timeout',
    what: 'from the end of a request to the head of its response',
  },
  upstream_idle: {
    default: 3_600_000,
    unit: 'ms',
    least: 10,
    code: 'upstream_timeout',
    what: 'between two pieces of a response body',
  },
  upstream_connections: {
    default: 256,
    unit: 'count',
    least: 1,
    code: null,
    what: 'connections at once to one upstream authority, of each worker and for HTTP/1.1 and HTTP/2 each; more requests wait',
  },
  upstream_wait: {
    default: 30_000,
    unit: 'ms',
    least: 10,
    code: 'overloaded',
    what: 'how long a request waits until one of these connections is free, or may be made',
  },
  upstream_keep_alive: {
    default: 30_000,
    unit: 'ms',
    least: 0,
    code: null,
    what: 'how long a connection to an upstream is kept without a request (0: none is kept)',
  },
  tunnel_idle: {
    default: 3_600_000,
    unit: 'ms',
    least: 10,
    code: null,
    what: 'a blind tunnel or an upgraded connection without a byte either way',
  },
  refresh_timeout: {
    default: 10_000,
    unit: 'ms',
    least: 10,
    code: 'refresh_failed',
    what: 'one request to a token endpoint; a refresh token that was sent is awaited for 15 s more',
  },
  refresh_wait: {
    default: 20_000,
    unit: 'ms',
    least: 10,
    code: 'refresh_failed',
    what: 'how long a request waits for a token in all',
  },
  cached_grants: {
    default: 67_108_864,
    unit: 'bytes',
    least: 1_048_576,
    code: null,
    what: 'grants in the memory of each worker, roughly; others are read from the store when they are used',
  },
  drain: {
    default: 10_000,
    unit: 'ms',
    least: 0,
    code: null,
    what: 'how long exchanges under way may finish after a stop',
  },
} as const satisfies Record<string, Limit>;

/** Name of a limit. */
export type LimitName = keyof typeof limitTable;

/** All limits, each in the unit of the table. */
export type Limits = Readonly<Record<LimitName, number>>;

/** Limits without the config file. */
export const defaultLimits: Limits = Object.freeze(
  Object.fromEntries(Object.entries(limitTable).map(([name, limit]) => [name, limit.default])),
) as Limits;

/**
 * Returns the milliseconds for which the answer to a one-time code or a refresh token is awaited. 25 s with
 * the default: providers that accept a used refresh token once more do so for 30 s or longer.
 */
export function answerMs({ refresh_timeout: ms }: Pick<Limits, 'refresh_timeout'>): number {
  return ms + 15_000;
}

/** Returns the 429 (RFC 6585 §4) of a limit that allows another request in `retryAfterMs` milliseconds. */
export function limitReached(limit: RuleLimit, retryAfterMs: number): SidekeyError {
  const scope = scopes[limit.per];
  const raised = limit.origin === undefined ? '' : `, or raise the limit of ${limit.origin}`;
  return new SidekeyError('rate_limited', `A rule allows ${scope} ${boundOf(limit)}, and they are used up.`, {
    hint: `Try again in ${durationText(Math.ceil(retryAfterMs / 1_000) * 1_000)}${raised}`,
    retryAfterMs,
  });
}

const scopes: Readonly<Record<LimitScope, string>> = {
  agent: 'this agent',
  grant: 'all requests with this grant together',
  rule: 'all requests of the rule together',
};

/** Formats a limit: `60 requests every 1 min`. */
export function boundOf(limit: RuleLimit): string {
  if (limit.kind === 'rate') {
    const burst = limit.burst === limit.count ? '' : ` (and ${limit.burst} at once)`;
    return `${quantity(limit.count, 'request')} every ${durationText(limit.perMs)}${burst}`;
  }
  const bounds = [
    ...(limit.requests === null ? [] : [quantity(limit.requests, 'request')]),
    ...(limit.bytes === null ? [] : [quantity(limit.bytes, 'byte')]),
  ];
  return `${bounds.join(' and ')} a day (UTC)`;
}

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
] as const;

/** Formats a duration in the largest unit that divides it, otherwise in seconds. */
function durationText(ms: number): string {
  const [unit, size] = units.find(([, each]) => ms >= each && ms % each === 0) ?? ['s', 1_000];
  return `${ms / size} ${unit}`;
}

function quantity(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}
