/**
 * One line of the audit file. Names are those of the public contract; a field that does not apply is left out.
 * There is no place here for a token, a query value or a body, and none may be put into `reason`.
 */

export type AuditEventName =
  | 'access'
  | 'outcome'
  | 'denied'
  | 'tunnel'
  | 'discovery'
  | 'token.answered'
  | 'placeholder.passed'
  | 'grant.added'
  | 'grant.connecting'
  | 'grant.connected'
  | 'grant.refreshed'
  | 'grant.refresh_failed'
  | 'grant.reauth_required'
  | 'grant.expired'
  | 'grant.revoked'
  | 'grant.removed'
  | 'grant.extended'
  | 'grant.policy_changed'
  | 'agent.signed_in'
  | 'agent.added'
  | 'agent.bound'
  | 'agent.unbound'
  | 'agent.changed'
  | 'agent.rotated'
  | 'agent.token_revoked'
  | 'agent.disabled'
  | 'agent.enabled'
  | 'agent.removed'
  | 'lease.created'
  | 'lease.renewed'
  | 'lease.revoked'
  | 'approval.allowed'
  | 'approval.denied'
  | 'approval.revoked'
  | 'domain.changed'
  | 'provider.changed'
  | 'config.reloaded'
  | 'config.rejected'
  | 'store.created'
  | 'key.created'
  | 'ca.created'
  | 'echo.limited'
  | 'policy.reported'
  | 'approval.asked'
  | 'proxy.started'
  | 'proxy.stopped'
  | 'worker.crashed'
  | 'audit.repaired'
  | 'audit.rotated'
  | 'audit.pruned'
  | 'audit.accepted';

/** What the writer of an event says; the log adds `v`, `seq`, `time`, `node`, `prev` and `hash`. */
export interface AuditEvent {
  readonly event: AuditEventName;
  /** Joins the `access` and the `outcome` of one exchange: a random id. */
  readonly exchange?: string | undefined;
  readonly agent?: string | undefined;
  readonly lease?: string | undefined;
  readonly user?: string | undefined;
  /** The question that a person was asked of the exchange, or whose answer stands. */
  readonly approval?: string | undefined;
  /** Id of the grant. */
  readonly grant?: string | undefined;
  readonly provider?: string | undefined;
  /** Address and port of the caller; of a change at the command line `cli`, by SSH with the address: `cli:192.0.2.7:5022`. */
  readonly client?: string | undefined;
  /** Who made a change: the user of the system, and by `sudo` also who became that user: `alice (as root)`. */
  readonly by?: string | undefined;
  readonly method?: string | undefined;
  readonly scheme?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** The path without its query, control characters escaped, cut at 2,048 characters. */
  readonly path?: string | undefined;
  /** `allow`, `deny`, `ok`, `failed`, `aborted`. */
  readonly outcome?: string | undefined;
  /** A `FailureCode`; of an outcome also `insufficient_scope`, where the upstream said so. */
  readonly code?: string | undefined;
  /** HTTP status that the client received. */
  readonly status?: number | undefined;
  /** The caller's `Sidekey-Reason`, or why an event came about, such as which scopes were missing. */
  readonly reason?: string | undefined;
  /** Body bytes from the client and to the client. */
  readonly bytes_in?: number | undefined;
  readonly bytes_out?: number | undefined;
  readonly duration_ms?: number | undefined;
  /** Times that the credential was found in the response, where that was looked into. */
  readonly echoes?: number | undefined;
  /** A keyed fingerprint of the credential: the same token gives the same one, and nobody can go back from it. */
  readonly credential?: string | undefined;
}

/** Who makes a change, and from where. */
export type Origin = Pick<AuditEvent, 'by' | 'client'>;

/** An event as it stands in the file. */
export interface AuditLine extends AuditEvent {
  /** Version of the line format. */
  readonly v: 1;
  /** Counts up by one within a `node`, from 1. */
  readonly seq: number;
  /** ISO 8601, UTC, milliseconds. */
  readonly time: string;
  /** The writer: each has a chain of its own within the file. */
  readonly node: string;
  /**
   * Where the line before of the same `node` ends: `FILE:BYTE`, the number of its file and the byte after its last.
   * Left out where that line begins right after the one before it of the same node.
   */
  readonly prev_end?: string;
  /** `hash` of the line before, of the same `node`; the first has 64 zeros. */
  readonly prev: string;
  /** HMAC-SHA256, in hex, over the line without this field, with a key derived from the master key. */
  readonly hash: string;
}

/** What the rest of the house may ask of the audit log. */
export interface AuditLog {
  /**
   * Writes the event and resolves when it is in the file (written to the operating system, so that a crash of
   * this process cannot lose it).
   * @throws SidekeyError `audit_unavailable`: nothing was written, and what it was to record must not happen.
   */
  append(event: AuditEvent): Promise<void>;
  /**
   * Writes the event within some milliseconds, for what has already happened: a crash of this process may lose it. A
   * failure is logged and makes later `append`s fail.
   */
  note(event: AuditEvent): void;
  /** Writes what is pending and closes. Idempotent. */
  close(): Promise<void>;
}
