/**
 * Every failure that a user can meet, in one table: what it is called, what a client of the proxy sees
 * (an HTTP status), and what a caller of the command line sees (an exit code).
 *
 * Codes are public and stable. Nobody matches on message text.
 */

/** Exit codes of the command line. */
export const exitCode = {
  ok: 0,
  failure: 1,
  badInput: 2,
  notAuthenticated: 3,
  noUsableGrant: 4,
  upstreamRefused: 5,
  network: 6,
} as const;

interface Failure {
  /** HTTP status of the refusal, where a proxy client can meet this failure. */
  readonly status: number;
  /** Exit code, where a caller of the command line can meet it. */
  readonly exit: number;
  /** The short human name: `title` of the problem document (RFC 9457 §3.1.3). */
  readonly title: string;
}

const table = {
  // What a client of the proxy meets.
  agent_auth_required: {
    status: 407,
    exit: exitCode.notAuthenticated,
    title: 'Agent authentication required',
  },
  domain_not_allowed: { status: 403, exit: exitCode.badInput, title: 'Domain not allowed' },
  rule_denied: { status: 403, exit: exitCode.badInput, title: 'Denied by a rule' },
  approval_denied: { status: 403, exit: exitCode.badInput, title: 'Approval denied' },
  approval_over: { status: 409, exit: exitCode.failure, title: 'Answered already, or too late' },
  approval_missing: { status: 403, exit: exitCode.badInput, title: 'Nobody approved' },
  placeholder_misused: { status: 403, exit: exitCode.badInput, title: 'Placeholder out of place' },
  policy_violation: { status: 403, exit: exitCode.badInput, title: 'Policy violation' },
  lease_expired: { status: 403, exit: exitCode.noUsableGrant, title: 'Lease expired' },
  grant_missing: { status: 403, exit: exitCode.noUsableGrant, title: 'No such grant' },
  grant_expired: { status: 403, exit: exitCode.noUsableGrant, title: 'Grant expired' },
  grant_revoked: { status: 403, exit: exitCode.noUsableGrant, title: 'Grant revoked' },
  address_blocked: { status: 403, exit: exitCode.badInput, title: 'Address blocked' },
  insecure_transport: { status: 403, exit: exitCode.badInput, title: 'Insecure transport' },
  grant_ambiguous: { status: 409, exit: exitCode.badInput, title: 'More than one grant fits' },
  not_found: { status: 404, exit: exitCode.badInput, title: 'Not found' },
  method_not_allowed: { status: 405, exit: exitCode.badInput, title: 'Method not allowed' },
  body_too_large: { status: 413, exit: exitCode.badInput, title: 'Body too large' },
  authority_mismatch: { status: 421, exit: exitCode.badInput, title: 'Authority mismatch' },
  reauth_required: { status: 424, exit: exitCode.noUsableGrant, title: 'Grant needs a new consent' },
  too_many_echoes: { status: 403, exit: exitCode.badInput, title: 'Too many echoes of the credential' },
  rate_limited: { status: 429, exit: exitCode.failure, title: 'Rate limited' },
  bad_request: { status: 400, exit: exitCode.badInput, title: 'Bad request' },
  refresh_failed: { status: 502, exit: exitCode.upstreamRefused, title: 'Token refresh failed' },
  upstream_unreachable: { status: 502, exit: exitCode.network, title: 'Upstream unreachable' },
  upstream_tls: { status: 502, exit: exitCode.network, title: 'Upstream TLS failure' },
  upstream_protocol: { status: 502, exit: exitCode.network, title: 'Upstream protocol error' },
  credential_echoed: { status: 502, exit: exitCode.upstreamRefused, title: 'Credential in the response' },
  upstream_timeout: { status: 504, exit: exitCode.network, title: 'Upstream timeout' },
  audit_unavailable: { status: 503, exit: exitCode.failure, title: 'Audit log unavailable' },
  overloaded: { status: 503, exit: exitCode.failure, title: 'Overloaded' },
  store_unavailable: { status: 503, exit: exitCode.failure, title: 'Store unavailable' },
  internal: { status: 500, exit: exitCode.failure, title: 'Internal error' },

  // What only the person at the command line meets.
  input_invalid: { status: 400, exit: exitCode.badInput, title: 'Invalid input' },
  config_invalid: { status: 500, exit: exitCode.badInput, title: 'Invalid configuration' },
  config_missing: { status: 500, exit: exitCode.badInput, title: 'No configuration' },
  secret_missing: { status: 500, exit: exitCode.badInput, title: 'Secret missing' },
  key_invalid: { status: 500, exit: exitCode.badInput, title: 'Master key unusable' },
  key_mismatch: { status: 500, exit: exitCode.badInput, title: 'Wrong master key' },
  store_newer: { status: 503, exit: exitCode.failure, title: 'Store written by a newer version' },
  store_damaged: { status: 503, exit: exitCode.failure, title: 'Store damaged' },
  record_tampered: { status: 503, exit: exitCode.failure, title: 'Sealed record does not open' },
  ca_mismatch: { status: 500, exit: exitCode.badInput, title: 'CA unusable' },
  clock_wrong: { status: 500, exit: exitCode.failure, title: 'Clock is wrong' },
  permissions_unsafe: { status: 500, exit: exitCode.badInput, title: 'Unsafe file permissions' },
  file_unwritable: { status: 500, exit: exitCode.failure, title: 'Cannot write' },
  port_in_use: { status: 500, exit: exitCode.failure, title: 'Port in use' },
  listen_failed: { status: 500, exit: exitCode.failure, title: 'Cannot listen' },
  listener_open: { status: 500, exit: exitCode.badInput, title: 'Listener open to others' },
  already_exists: { status: 409, exit: exitCode.badInput, title: 'Already exists' },
  provider_unknown: { status: 500, exit: exitCode.badInput, title: 'Unknown provider' },
  provider_refused: { status: 502, exit: exitCode.upstreamRefused, title: 'The provider said no' },
  consent_missing: { status: 424, exit: exitCode.failure, title: 'Nobody consented' },
  audit_broken: { status: 500, exit: exitCode.failure, title: 'Audit log does not verify' },
} as const satisfies Record<string, Failure>;

/** A stable name of a failure. */
export type FailureCode = keyof typeof table;

/** The table itself, for documentation, tests and the problem document. */
export const failures: Readonly<Record<FailureCode, Failure>> = table;

/** What a failure may say besides its sentence. */
interface SidekeyErrorOptions {
  /** What to do about it: the exact command, config line or link. */
  readonly hint?: string | undefined;
  /** What lay beneath. Never shown to a client of the proxy. */
  readonly cause?: unknown;
  /** Milliseconds after which the same may succeed; a client of the proxy sees `Retry-After` (RFC 9110 §10.2.3). */
  readonly retryAfterMs?: number | undefined;
}

/**
 * A failure with a code from the table, one clear sentence, and the way out.
 * Its message and hint must never contain a secret: they reach clients, logs and audit lines.
 */
export class SidekeyError extends Error {
  override readonly name = 'SidekeyError';
  readonly code: FailureCode;
  readonly hint: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: FailureCode, message: string, options: SidekeyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** HTTP status of the refusal. */
  get status(): number {
    return failures[this.code].status;
  }

  /** Exit code of the command line. */
  get exit(): number {
    return failures[this.code].exit;
  }
}

/** The known name that was most likely meant, if one is near: at most a third of its letters away. */
export function didYouMean(text: string, known: readonly string[]): string | null {
  const scored = known
    .map((name) => ({ name, distance: editDistance(text.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= Math.max(1, Math.floor(Math.max(name.length, 3) / 3)))
    .toSorted((a, b) => a.distance - b.distance);
  return scored[0]?.name ?? null;
}

/** Insertions, deletions, changes of a letter and swaps of neighbours (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  // Nobody mistypes that much; it also bounds the work.
  if (Math.abs(a.length - b.length) > 16) return Infinity;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(rows, i - 1, j) + 1,
          (row[j - 1] ?? Infinity) + 1,
          at(rows, i - 1, j - 1) + cost,
          swapped ? at(rows, i - 2, j - 2) + 1 : Infinity,
        ),
      );
    }
    rows.push(row);
  }
  return at(rows, a.length, b.length);
}

function at(rows: readonly (readonly number[])[], row: number, column: number): number {
  return rows[row]?.[column] ?? Infinity;
}

/** What may be written of an error. */
interface ErrorFacts {
  /** Its class, such as `TypeError`. */
  readonly name: string;
  /** The system's or a library's name of it, such as `ECONNRESET`. */
  readonly code?: string;
  readonly message?: string;
  /** Where it happened, innermost first: `read (file:///…/input.ts:12:3)`. */
  readonly frames: readonly string[];
}

/**
 * What may be written of an error, whoever made it. A failure of ours says what it says. Of an error that nobody foresaw
 * the message is left out, because libraries quote what they were given (`JSON.parse`: `"sk-live-…" is not valid JSON`),
 * and so is everything that was hung onto it, such as a request with its headers. The system's own are made of a code, a
 * path and an address, and are kept.
 */
export function errorFacts(error: unknown): ErrorFacts {
  if (!(error instanceof Error)) return { name: typeof error, frames: [] };
  const code = 'code' in error && typeof error.code === 'string' && isCode(error.code) ? error.code : null;
  const isOurs = error instanceof SidekeyError;
  return {
    name: /^[A-Za-z]{1,60}$/.test(error.name) ? error.name : 'Error',
    ...(code === null ? {} : { code }),
    ...(isOurs || isOfTheSystem(error) ? { message: error.message } : {}),
    frames: framesOf(error),
  };
}

/** The same in a few words, for one line: `TypeError in read (file:///…/input.ts:12:3)`. */
export function errorPhrase(error: unknown): string {
  const { name, code, message, frames } = errorFacts(error);
  const what = message ?? (code === undefined ? name : `${name} ${code}`);
  return frames.length === 0 ? what : `${what} in ${frames.slice(0, 3).join(' < ')}`;
}

/** `ECONNRESET`, `ERR_INVALID_URL`, `SQLITE_BUSY`, and ours. */
function isCode(text: string): boolean {
  return Object.hasOwn(failures, text) || /^[A-Z][A-Z0-9_]{1,59}$/.test(text);
}

/** Errors of system calls (`SystemError` in Node's documentation): "connect ECONNREFUSED 127.0.0.1:443". */
function isOfTheSystem(error: Error): boolean {
  return 'syscall' in error && 'errno' in error && typeof error.errno === 'number';
}

/** The lines of the stack that say where. The message stands before them, and may have lines that look like them. */
function framesOf({ message, stack = '' }: Error): string[] {
  const from = message === '' ? 0 : stack.indexOf(message) + message.length;
  return stack
    .slice(from)
    .split('\n')
    .flatMap((line) => {
      const [, frame] =
        /^ {4}at ((?:[\w.$<># [\]]+ \()?(?:file:\/\/|node:|\/)[^()\n]*:\d+:\d+\)?)$/.exec(line) ?? [];
      return frame === undefined ? [] : [frame];
    });
}

/**
 * Why a server could not listen, as a failure with its way out.
 * @param setting the key of the config file that says where it listens
 */
export function listenFailure(
  cause: Error & { code?: string },
  { host, port, setting }: { readonly host: string; readonly port: number; readonly setting: string },
): SidekeyError {
  if (cause.code === 'EADDRINUSE') {
    return new SidekeyError('port_in_use', `${host}:${port} is in use by another program.`, {
      hint: `stop it, or set ${setting} to another port`,
      cause,
    });
  }
  return new SidekeyError(
    'listen_failed',
    `Sidekey cannot listen on ${host}:${port} (${cause.code ?? cause.message}).`,
    {
      hint: `set ${setting} to an address of this machine and a port that you may use`,
      cause,
    },
  );
}

/** The system's name of an error, such as `ENOENT`, which is worth a search; `unknown error` where it has none. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}

/** Whether it is one of these errors of the system. */
export function isSystemError(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes(systemCode(error));
}
