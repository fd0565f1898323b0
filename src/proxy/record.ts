import { randomUUID } from 'node:crypto';
import type { Question } from '../approvals/approval.ts';
import type { AuditEvent } from '../audit/event.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Authority } from '../policy/authority.ts';
import type { ReportedOutcome, Decision } from '../policy/decide.ts';
import type { SealedCredential } from '../grants/credential.ts';
import type { Grant } from '../grants/grant.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import type { Identity } from '../agents/authentication.ts';
import { valuesOf } from '../http/fields.ts';
import type { InboundRequest, ExchangeResult } from '../http/message.ts';
import type { Target } from './target.ts';

/** Facts of an exchange. All keys are there from the beginning, so that every exchange has one hidden class. */
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

/**
 * Gathers what the audit says of one exchange, stage by stage, and makes its events. It never holds a query, a body or a
 * token.
 */
export class ExchangeRecord {
  /** Random id that joins the events of the exchange. */
  readonly exchange = randomUUID();
  readonly #begunAt: number;
  readonly #now: () => number;
  readonly #known: Known;
  /** Facts of the selected grant, before its credential is used. */
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

  /** The authority of the request. */
  target({ authority: { scheme, host, port } }: Pick<Target, 'authority'>): void {
    this.#known.scheme = scheme;
    this.#known.host = host;
    this.#known.port = port;
  }

  /** The path without a credential. */
  path(path: string): void {
    this.#known.path = path.split('?', 1)[0];
  }

  /** The caller; may be called before its permission is checked. */
  identity({ agent, lease }: Pick<Identity, 'agent' | 'lease'>): void {
    this.#known.agent = agent ?? undefined;
    this.#known.lease = lease?.id;
  }

  /** The grant that the request asks for, named by a refusal. */
  selected({ id, user, provider }: Grant): void {
    this.#after = { grant: id, user, provider };
  }

  /** The grant whose credential is sent. */
  grant({ id, user, provider }: Grant, fingerprint: string): void {
    this.#known.grant = id;
    this.#known.user = user;
    this.#known.provider = provider;
    this.#known.credential = fingerprint;
  }

  /** Event: the decision that the rules of a domain in report mode would have enforced. */
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

  /** The request is for the proxy itself, and is no access to anything. */
  discovers(): void {
    this.#ending = 'discovery';
  }

  /** The request asks for a token, gets a placeholder, and is not forwarded. */
  answersToken(): void {
    this.#ending = 'token.answered';
  }

  /** Event: a placeholder in the body was forwarded, because it stands for nothing there. */
  unexpectedPlaceholder(): AuditEvent {
    return { ...this.#known, ...this.#after, event: 'placeholder.passed', outcome: 'allow' };
  }

  /** Event: a person is asked. */
  asked({ id }: Pick<Question, 'id'>, reason: string): AuditEvent {
    this.#known.approval = id;
    return { ...this.#known, ...this.#after, event: 'approval.asked', reason };
  }

  /** The approval of a person, given now or before. */
  approved(id: string): void {
    this.#known.approval = id;
  }

  /** The upstream says that the grant lacks a consent; the reason names scopes, and is bounded. */
  lacks(reason: string): void {
    this.#lack = reason;
  }

  /** Decision of policy. */
  decided(_decision: Decision): void {}

  /** Event: a request is about to be sent, with this credential. */
  access(
    token: Pick<ReadyToken, 'grant' | 'sealed'> | null = null,
    fingerprint: (sealed: SealedCredential) => string = () => '',
  ): AuditEvent {
    this.#accessed = true;
    if (token !== null) this.grant(token.grant, fingerprint(token.sealed));
    return { ...this.#known, event: 'access', outcome: 'allow' };
  }

  /** Event: responses have shown the credential too often. */
  limited(): AuditEvent {
    return { ...this.#known, event: 'echo.limited', outcome: 'deny', code: 'too_many_echoes' };
  }

  /** Number of times that the response showed the credential. */
  echoed(times: number): void {
    this.#echoes = times;
  }

  /** Event: the end of the exchange. */
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

  /** Event: the request was refused, or failed after its access was recorded with so many bytes. */
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
