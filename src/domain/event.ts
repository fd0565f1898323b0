/*
 * Audit events and lines. The field names are public. No field may have a token, a query value or a body, `reason`
 * included.
 */

/** All names of events. */
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
  'grant.connecting',
  'grant.connected',
  'grant.refreshed',
  'grant.refresh_failed',
  'grant.reauth_required',
  'grant.expired',
  'grant.revoked',
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

/** An event. The log adds `v`, `seq`, `time`, `node`, `prev_end`, `prev` and `hash`; fields that do not apply are absent. */
export interface AuditEvent {
  readonly event: AuditEventName;
  /** A random id that the `access` and the `outcome` of one exchange share. */
  readonly exchange?: string | undefined;
  readonly agent?: string | undefined;
  readonly lease?: string | undefined;
  /** Subject of the OIDC token that identified the agent. */
  readonly subject?: string | undefined;
  readonly user?: string | undefined;
  /** Id of the approval or the proposal that was made for the exchange or that covers it. */
  readonly approval?: string | undefined;
  /** Id of the grant. */
  readonly grant?: string | undefined;
  readonly provider?: string | undefined;
  /** Address and port of the caller; for a change at the command line `cli`, over SSH with the address: `cli:192.0.2.7:5022`. */
  readonly client?: string | undefined;
  /** The system user who made a change; after `sudo` with both users: `alice (as root)`. */
  readonly by?: string | undefined;
  readonly method?: string | undefined;
  readonly scheme?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** Without its query; control characters are escaped; cut at 2,048 characters. */
  readonly path?: string | undefined;
  /** `allow`, `deny`, `ok`, `failed`, `aborted`. */
  readonly outcome?: string | undefined;
  /** A `FailureCode`; of an outcome also `insufficient_scope`, if the upstream reported it. */
  readonly code?: string | undefined;
  /** HTTP status that the client received. */
  readonly status?: number | undefined;
  /** The `Sidekey-Reason` of the caller, or the reason of the event, such as the missing scopes. */
  readonly reason?: string | undefined;
  /** Body bytes from the client and to the client. */
  readonly bytes_in?: number | undefined;
  readonly bytes_out?: number | undefined;
  readonly duration_ms?: number | undefined;
  /** Number of occurrences of the credential in the response, found by the leak guard. */
  readonly leaks?: number | undefined;
  /** Credentials that the client sent itself: their places and forms, without their values. */
  readonly foreign?: string | undefined;
  /** A keyed fingerprint of the credential, which cannot be reversed. */
  readonly credential?: string | undefined;
}

/** The author of a change, and their client. */
export type Origin = Pick<AuditEvent, 'by' | 'client'>;

/** A line of the audit file. */
export interface AuditLine extends AuditEvent {
  /** Version of the line format. */
  readonly v: 1;
  /** Counts up by one within a `node`, from 1. */
  readonly seq: number;
  /** ISO 8601, UTC, milliseconds. */
  readonly time: string;
  /** The writer. Each writer has a chain of its own. */
  readonly node: string;
  /**
   * End of the line before of the same `node`: `FILE:BYTE`, the number of its file and the byte after its last one. Absent
   * if this line follows that one directly.
   */
  readonly prev_end?: string;
  /** The first 48 bits of `hash` of the line before of the same `node`; zeros for the first line. */
  readonly prev: string;
  /**
   * HMAC-SHA256 over the line without this field, with a key derived from the master key: its first 132 bits in base64url.
   */
  readonly hash: string;
}

/** The audit log, as other parts of Sidekey use it. */
export interface AuditLog {
  /**
   * Writes the event and resolves when the operating system has it: a crash of this process cannot lose it then.
   * @throws SidekeyError `audit_unavailable`: nothing was written, and the recorded action must not happen.
   */
  append(event: AuditEvent): Promise<void>;
  /**
   * Writes the event like `append`, at once if it can: returns undefined if the operating system has it, else a promise.
   * Events of one turn share the promise: it rejects if one of them could not be written, and the others may be in the log.
   */
  write(event: AuditEvent): Promise<void> | undefined;
  /**
   * Writes an event that has already happened, within some milliseconds: a crash of this process may lose it. A failure is
   * logged and makes later calls of `append` fail.
   */
  note(event: AuditEvent): void;
  /** Writes all pending events and closes. Idempotent. */
  close(): Promise<void>;
}
