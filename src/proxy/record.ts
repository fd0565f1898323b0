import { randomUUID } from 'node:crypto';
import type { AuditEvent } from '../audit/event.ts';
import { SidekeyError } from '../errors.ts';
import type { Grant } from '../grants/grant.ts';
import type { Identity } from './agent.ts';
import { valuesOf } from './fields.ts';
import type { Arrival, Carried } from './message.ts';
import type { Target } from './target.ts';

/**
 * What the audit will say of one exchange, gathered as the exchange goes on. It never holds a query, a body or a token.
 */
export interface ExchangeRecord {
  target(target: Target): void;
  identity(identity: Identity): void;
  grant(grant: Grant, fingerprint: string): void;
  /** Before the credential leaves. */
  access(): AuditEvent;
  /** After the response, or what there was of it. */
  outcome(carried: Carried): AuditEvent;
  /** Instead of both, where the request was refused; or after `access`, where it failed. */
  refused(error: unknown, status: number): AuditEvent;
}

/** Begins the record of a request that has arrived; `now` answers milliseconds since the epoch. */
export function beginRecord(arrival: Arrival, now: () => number): ExchangeRecord {
  const begunAt = now();
  const { head, client } = arrival;
  let base: Omit<AuditEvent, 'event'> = {
    exchange: randomUUID(),
    client: client.address,
    method: head.method,
    reason: valuesOf(head.fields, 'sidekey-reason')[0],
  };
  let accessed = false;
  return {
    target({ authority, path }) {
      const { scheme, host, port } = authority;
      base = { ...base, scheme, host, port, path: path.split('?', 1)[0] };
    },
    identity({ agent }) {
      base = { ...base, agent: agent ?? undefined };
    },
    grant({ id, user, provider }, credential) {
      base = { ...base, grant: id, user, provider, credential };
    },
    access() {
      accessed = true;
      return { ...base, event: 'access', outcome: 'allow' };
    },
    outcome({ status, bytesIn, bytesOut, fate }) {
      return {
        ...base,
        event: 'outcome',
        outcome: fate === 'complete' ? 'ok' : fate === 'gone' ? 'aborted' : 'failed',
        status,
        bytes_in: bytesIn,
        bytes_out: bytesOut,
        duration_ms: now() - begunAt,
      };
    },
    refused(error, status) {
      return {
        ...base,
        event: accessed ? 'outcome' : 'denied',
        outcome: accessed ? 'failed' : 'deny',
        code: error instanceof SidekeyError ? error.code : 'internal',
        status,
        duration_ms: now() - begunAt,
      };
    },
  };
}
