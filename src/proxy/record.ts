import { randomUUID } from 'node:crypto';
import type { Question } from '../approvals/approval.ts';
import type { AuditEvent } from '../audit/event.ts';
import { SidekeyError } from '../errors.ts';
import type { Reported } from '../policy/decide.ts';
import type { Grant } from '../grants/grant.ts';
import type { Identity } from './agent.ts';
import { valuesOf } from './fields.ts';
import type { Arrival, Carried } from './message.ts';
import type { Target } from './target.ts';

/**
 * What the audit will say of one exchange, gathered as the exchange goes on. It never holds a query, a body or a token.
 */
export interface ExchangeRecord {
  /** What joins its events: a random id. */
  readonly exchange: string;
  target(target: Pick<Target, 'authority'>): void;
  /** The path without a credential: what a client sent is not shown before it is known where that would stand. */
  path(path: string): void;
  /** May be told before it is known whether the right still holds. */
  identity(identity: Pick<Identity, 'agent' | 'lease'>): void;
  /** The grant that the request is after, for a refusal to say. */
  selected(grant: Grant): void;
  /** The grant whose credential leaves. */
  grant(grant: Grant, fingerprint: string): void;
  /** What the rules of a domain would have done that only reports. */
  reported(reported: Reported): AuditEvent;
  /** Before a person is asked. */
  asked(question: Pick<Question, 'id'>, reason: string): AuditEvent;
  /** A person has agreed, or did so before. */
  approved(id: string): void;
  /** Before the credential leaves. */
  access(): AuditEvent;
  /** After the response, or what there was of it. */
  outcome(carried: Carried): AuditEvent;
  /** Instead of both, where the request was refused; or after `access`, where it failed with so many bytes carried. */
  refused(error: unknown, status: number, bytes?: Pick<Carried, 'bytesIn' | 'bytesOut'>): AuditEvent;
}

/** Begins the record of a request that has arrived; `now` answers milliseconds since the epoch. */
export function beginRecord(arrival: Arrival, now: () => number): ExchangeRecord {
  const begunAt = now();
  const { head, client } = arrival;
  const exchange = randomUUID();
  let base: Omit<AuditEvent, 'event'> = {
    exchange,
    client: client.address,
    method: head.method,
    reason: valuesOf(head.fields, 'sidekey-reason')[0],
  };
  /** Of the grant that was not used yet. */
  let after: Pick<AuditEvent, 'grant' | 'user' | 'provider'> = {};
  let accessed = false;
  return {
    exchange,
    target({ authority: { scheme, host, port } }) {
      base = { ...base, scheme, host, port };
    },
    path(path) {
      base = { ...base, path: path.split('?', 1)[0] };
    },
    identity({ agent, lease }) {
      base = { ...base, agent: agent ?? undefined, lease: lease?.id };
    },
    selected({ id, user, provider }) {
      after = { grant: id, user, provider };
    },
    grant({ id, user, provider }, credential) {
      base = { ...base, grant: id, user, provider, credential };
    },
    reported({ outcome, code, reason }) {
      return {
        ...base,
        ...after,
        event: 'policy.reported',
        outcome: outcome === 'deny' ? 'deny' : 'allow',
        code: code ?? undefined,
        reason,
      };
    },
    asked({ id }, reason) {
      base = { ...base, approval: id };
      return { ...base, ...after, event: 'approval.asked', reason };
    },
    approved(id) {
      base = { ...base, approval: id };
    },
    access() {
      accessed = true;
      return { ...base, event: 'access', outcome: 'allow' };
    },
    outcome({ status, bytesIn, bytesOut, fate, code }) {
      return {
        ...base,
        event: 'outcome',
        outcome: code !== undefined || fate === 'gone' ? 'aborted' : fate === 'complete' ? 'ok' : 'failed',
        code,
        status,
        bytes_in: bytesIn,
        bytes_out: bytesOut,
        duration_ms: now() - begunAt,
      };
    },
    refused(error, status, bytes) {
      return {
        ...base,
        ...(accessed ? {} : after),
        event: accessed ? 'outcome' : 'denied',
        outcome: accessed ? 'failed' : 'deny',
        code: error instanceof SidekeyError ? error.code : 'internal',
        status,
        ...(accessed && bytes !== undefined ? { bytes_in: bytes.bytesIn, bytes_out: bytes.bytesOut } : {}),
        duration_ms: now() - begunAt,
      };
    },
  };
}
