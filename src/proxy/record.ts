import { randomUUID } from 'node:crypto';
import type { Question } from '../approvals/approval.ts';
import type { AuditEvent } from '../audit/event.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Authority } from '../policy/authority.ts';
import type { ReportedOutcome } from '../policy/decide.ts';
import type { Grant } from '../grants/grant.ts';
import type { Identity } from '../agents/authentication.ts';
import { valuesOf } from '../http/fields.ts';
import type { InboundRequest, ExchangeResult } from '../http/message.ts';
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
  reported(reported: ReportedOutcome): AuditEvent;
  /** The request is for the proxy itself: what comes of it is no access to anything. */
  discovers(): void;
  /** The request asks for a token, and gets a placeholder: nothing leaves. */
  answersToken(): void;
  /** A placeholder in the body went on, as it stands for nothing there. */
  strayed(): AuditEvent;
  /** Before a person is asked. */
  asked(question: Pick<Question, 'id'>, reason: string): AuditEvent;
  /** A person has agreed, or did so before. */
  approved(id: string): void;
  /** The upstream says that the grant lacks a consent; names of scopes, bounded. */
  lacks(reason: string): void;
  /** Before the credential leaves. */
  access(): AuditEvent;
  /** Responses have shown the credential so often that the agent may not ask any more. */
  limited(): AuditEvent;
  /** So many times the response showed the credential. */
  echoed(times: number): void;
  /** After the response, or what there was of it. */
  outcome(result: ExchangeResult): AuditEvent;
  /** Instead of both, where the request was refused; or after `access`, where it failed with so many bytes carried. */
  refused(error: unknown, status: number, bytes?: Pick<ExchangeResult, 'bytesIn' | 'bytesOut'>): AuditEvent;
}

/** Begins the record of a request that has arrived; `now` answers milliseconds since the epoch. */
export function beginRecord(inbound: InboundRequest, now: () => number): ExchangeRecord {
  return new Recording(inbound, now);
}

/** What is known of an exchange. All of it has a place from the beginning: one shape for every exchange. */
interface Known {
  readonly exchange: string;
  readonly client: string;
  readonly method: string;
  readonly reason: string | undefined;
  scheme: Authority['scheme'] | undefined;
  host: string | undefined;
  port: number | undefined;
  path: string | undefined;
  agent: string | undefined;
  lease: string | undefined;
  approval: string | undefined;
  grant: string | undefined;
  user: string | undefined;
  provider: string | undefined;
  credential: string | undefined;
}

class Recording implements ExchangeRecord {
  readonly exchange = randomUUID();
  readonly #begunAt: number;
  readonly #now: () => number;
  readonly #known: Known;
  /** Of the grant that was not used yet. */
  #after: Pick<AuditEvent, 'grant' | 'user' | 'provider'> = {};
  #lack: string | null = null;
  #accessed = false;
  #ending: 'outcome' | 'discovery' | 'token.answered' = 'outcome';
  #echoes: number | undefined;

  constructor({ head, client }: InboundRequest, now: () => number) {
    this.#now = now;
    this.#begunAt = now();
    this.#known = {
      exchange: this.exchange,
      client: client.address,
      method: head.method,
      reason: valuesOf(head.fields, 'sidekey-reason')[0],
      scheme: undefined,
      host: undefined,
      port: undefined,
      path: undefined,
      agent: undefined,
      lease: undefined,
      approval: undefined,
      grant: undefined,
      user: undefined,
      provider: undefined,
      credential: undefined,
    };
  }

  target({ authority: { scheme, host, port } }: Pick<Target, 'authority'>): void {
    this.#known.scheme = scheme;
    this.#known.host = host;
    this.#known.port = port;
  }

  path(path: string): void {
    this.#known.path = path.split('?', 1)[0];
  }

  identity({ agent, lease }: Pick<Identity, 'agent' | 'lease'>): void {
    this.#known.agent = agent ?? undefined;
    this.#known.lease = lease?.id;
  }

  selected({ id, user, provider }: Grant): void {
    this.#after = { grant: id, user, provider };
  }

  grant({ id, user, provider }: Grant, fingerprint: string): void {
    this.#known.grant = id;
    this.#known.user = user;
    this.#known.provider = provider;
    this.#known.credential = fingerprint;
  }

  reported({ outcome, code, reason }: ReportedOutcome): AuditEvent {
    return {
      ...this.#known,
      ...this.#after,
      event: 'policy.reported',
      outcome: outcome === 'deny' ? 'deny' : 'allow',
      code: code ?? undefined,
      reason,
    };
  }

  discovers(): void {
    this.#ending = 'discovery';
  }

  answersToken(): void {
    this.#ending = 'token.answered';
  }

  strayed(): AuditEvent {
    return { ...this.#known, ...this.#after, event: 'placeholder.passed', outcome: 'allow' };
  }

  asked({ id }: Pick<Question, 'id'>, reason: string): AuditEvent {
    this.#known.approval = id;
    return { ...this.#known, ...this.#after, event: 'approval.asked', reason };
  }

  approved(id: string): void {
    this.#known.approval = id;
  }

  lacks(reason: string): void {
    this.#lack = reason;
  }

  access(): AuditEvent {
    this.#accessed = true;
    return { ...this.#known, event: 'access', outcome: 'allow' };
  }

  limited(): AuditEvent {
    return { ...this.#known, event: 'echo.limited', outcome: 'deny', code: 'too_many_echoes' };
  }

  echoed(times: number): void {
    this.#echoes = times;
  }

  outcome({ status, bytesIn, bytesOut, outcome, code }: ExchangeResult): AuditEvent {
    return {
      ...this.#known,
      event: this.#ending,
      outcome:
        code !== undefined || outcome === 'gone' ? 'aborted' : outcome === 'complete' ? 'ok' : 'failed',
      code: code ?? (this.#lack === null ? undefined : 'insufficient_scope'),
      reason: this.#lack ?? this.#known.reason,
      status,
      bytes_in: bytesIn,
      bytes_out: bytesOut,
      duration_ms: this.#now() - this.#begunAt,
      echoes: this.#echoes,
    };
  }

  refused(error: unknown, status: number, bytes?: Pick<ExchangeResult, 'bytesIn' | 'bytesOut'>): AuditEvent {
    const accessed = this.#accessed;
    return {
      ...this.#known,
      ...(accessed ? {} : this.#after),
      event: accessed ? 'outcome' : 'denied',
      outcome: accessed ? 'failed' : 'deny',
      code: error instanceof SidekeyError ? error.code : 'internal',
      status,
      ...(accessed && bytes !== undefined ? { bytes_in: bytes.bytesIn, bytes_out: bytes.bytesOut } : {}),
      duration_ms: this.#now() - this.#begunAt,
      echoes: this.#echoes,
    };
  }
}
