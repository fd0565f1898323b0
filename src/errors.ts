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
export interface SidekeyErrorOptions {
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
