/*
 * Audit events and lines. The field names are public. No field, not even `reason`, may contain a token, a
 * query value or a body.
 */

export const auditEventNames = [
  'access',
  'outcome',
  'denied',
  'credential.added',
  'tunnel',
  'discovery',
  'token.answered',
  'token.read',
  'placeholder.passed',
  'grant.added',
  'grant.minted',
  'grant.connecting',
  'grant.connected',
  'grant.refreshed',
  'grant.refresh_failed',
  'grant.reauth_required',
  'grant.expired',
  'grant.revoked',
  'grant.token_revoked',
  'grant.removed',
  'grant.changed',
  'agent.signed_in',
  'agent.added',
  'agent.bound',
  'agent.unbound',
  'agent.changed',
  'agent.rotated',
  'agent.token_revoked',
  'agent.disabled',
  'agent.enabled',
  'agent.removed',
  'lease.created',
  'lease.renewed',
  'lease.revoked',
  'approval.allowed',
  'approval.denied',
  'approval.revoked',
  'api_key.created',
  'api_key.revoked',
  'person.created',
  'person.changed',
  'person.removed',
  'person.linked',
  'person.signed_in',
  'person.signed_out',
  'proposal.made',
  'proposal.accepted',
  'proposal.declined',
  'domain.changed',
  'provider.changed',
  'config.changed',
  'config.reloaded',
  'config.rejected',
  'store.created',
  'store.copied',
  'store.backed_up',
  'store.restored',
  'key.created',
  'key.rotation_started',
  'key.rotated',
  'node.enrolled',
  'node.joined',
  'node.refused',
  'node.revoked',
  'ca.created',
  'leak.limited',
  'policy.reported',
  'approval.asked',
  'proxy.started',
  'proxy.stopped',
  'worker.crashed',
  'audit.repaired',
  'audit.rotated',
  'audit.pruned',
  'audit.accepted',
  'audit.rekeyed',
] as const;

export type AuditEventName = (typeof auditEventNames)[number];

/** An audit event. The log adds the fields of `AuditLine`. Fields that do not apply are absent. */
export interface AuditEvent {
  readonly event: AuditEventName;
  /** Random ID that `access` and `outcome` of one exchange share. */
  readonly exchange?: string | undefined;
  readonly agent?: string | undefined;
  readonly lease?: string | undefined;
  /** Subject of the OIDC token that identified the agent. */
  readonly subject?: string | undefined;
  readonly user?: string | undefined;
  /** ID of the approval or proposal that was made for the exchange, or that covers it. */
  readonly approval?: string | undefined;
  readonly grant?: string | undefined;
  readonly provider?: string | undefined;
  /** Address and port of the caller; at the command line `cli`, over SSH `cli:192.0.2.7:5022`. */
  readonly client?: string | undefined;
  /** System user who made a change; after `sudo` both users: `alice (as root)`. */
  readonly by?: string | undefined;
  readonly method?: string | undefined;
  readonly scheme?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** Path without the query, control characters escaped, cut at 2,048 characters. */
  readonly path?: string | undefined;
  /** `allow`, `deny`, `ok`, `failed`, `aborted`. */
  readonly outcome?: string | undefined;
  /** A `FailureCode`; in outcomes also `insufficient_scope`, if reported by the upstream. */
  readonly code?: string | undefined;
  /** HTTP status that the client received. */
  readonly status?: number | undefined;
  /** The caller's `Sidekey-Reason`, or details of the event, such as the missing scopes. */
  readonly reason?: string | undefined;
  /** Bytes of the bodies from the client and to the client. */
  readonly bytes_in?: number | undefined;
  readonly bytes_out?: number | undefined;
  readonly duration_ms?: number | undefined;
  /** Number of occurrences of the credential in the response, found by the leak guard. */
  readonly leaks?: number | undefined;
  /** Credentials that the client sent: their places and forms, without values. */
  readonly foreign?: string | undefined;
  /** Keyed fingerprint of the credential. Cannot be reversed. */
  readonly credential?: string | undefined;
}

/** Author of a change, and their client. */
export type Origin = Pick<AuditEvent, 'by' | 'client'>;

export interface AuditLine extends AuditEvent {
  /** Version of the line format. */
  readonly v: 1;
  /** Counts up by one within a `node`, from 1. */
  readonly seq: number;
  /** ISO 8601, UTC, milliseconds. */
  readonly time: string;
  /** ID of the writer. Each writer has its own chain. */
  readonly node: string;
  /**
   * End of the previous line of the same `node` as `FILE:BYTE`: file number, and byte offset (exclusive).
   * Absent if this line follows directly.
   */
  readonly prev_end?: string;
  /** First 48 bits of `hash` of the previous line of the same `node`; zeros for the first line. */
  readonly prev: string;
  /** First 132 bits (base64url) of HMAC-SHA256(line without `hash`), key derived from the master key. */
  readonly hash: string;
}

/** The audit log, as other parts of Sidekey use it. */
export interface AuditLog {
  /**
   * Appends an event and resolves once the operating system has it, so that a crash cannot lose it.
   * @throws SidekeyError `audit_unavailable`: nothing was written, and the recorded action must not happen.
   */
  append(event: AuditEvent): Promise<void>;
  /**
   * Writes like `append`, if possible at once: returns undefined once the operating system has the event.
   * Otherwise returns a promise shared by all events of one turn. If it rejects, some may be in the log.
   */
  write(event: AuditEvent): Promise<void> | undefined;
  /**
   * Writes an event that has already happened, within milliseconds. A crash may lose it. A failure is logged
   * and makes later calls of `append` fail.
   */
  note(event: AuditEvent): void;
  /** Writes pending events and closes the log. Idempotent. */
  close(): Promise<void>;
}
