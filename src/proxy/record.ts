import { randomFillSync } from 'node:crypto';
import type { Identity } from '../agents/authentication.ts';
import type { Question } from '../domain/approval.ts';
import type { AuditEvent } from '../domain/event.ts';
import type { SealedCredential } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import type { ExchangeResult, InboundRequest } from './http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Authority } from './policy/authority.ts';
import type { Decision, ReportedOutcome } from './policy/decide.ts';
import type { RequestFacts } from './policy/request.ts';
import { planOf } from './plan.ts';
import type { Target } from './target.ts';

/** Number of bytes of an ID: 12 characters of base64url. */
const idBytes = 9;

/** Random bytes for many IDs. Saves a call of the random generator for each ID. */
const pool = Buffer.alloc(128 * idBytes);
let used = pool.length;

/**
 * Returns an ID for the events of an exchange: 71 random bits in base64url. The first character is a letter,
 * so that an ID is never an option at the command line or a formula in CSV.
 */
export function newExchangeId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const first = pool.readUInt8(used) & 0x7f;
  pool.writeUInt8(first, used);
  const id = pool.toString('base64url', used, used + idBytes);
  used += idBytes;
  return id;
}

/** Facts of an exchange. All keys exist from the beginning, so that every exchange has one hidden class. */
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
  subject: string | undefined;
  approval: string | undefined;
  grant: string | undefined;
  user: string | undefined;
  provider: string | undefined;
  credential: string | undefined;
  foreign: string | undefined;
}

/**
 * Collects the facts of one exchange for the audit, stage by stage, and creates its events. Never contains a
 * query, a body or a token.
 */
export class ExchangeRecord {
  /** Random id that joins the events of the exchange. */
  readonly exchange = newExchangeId();
  readonly #begunAt: number;
  readonly #now: () => number;
  readonly #known: Known;
  /** Facts of the selected grant, before its credential is used. */
  #after: Pick<AuditEvent, 'grant' | 'user' | 'provider'> = {};
  #lack: string | null = null;
  #accessed = false;
  #ending: 'outcome' | 'discovery' | 'token.answered' = 'outcome';
  #leaks: number | undefined;

  constructor({ head, client }: InboundRequest, now: () => number) {
    this.#now = now;
    this.#begunAt = now();
    this.#known = {
      exchange: this.exchange,
      client: client.address,
      method: head.method,
      reason: planOf(client).reason(head.fields),
      scheme: undefined,
      host: undefined,
      port: undefined,
      path: undefined,
      agent: undefined,
      lease: undefined,
      subject: undefined,
      approval: undefined,
      grant: undefined,
      user: undefined,
      provider: undefined,
      credential: undefined,
      foreign: undefined,
    };
  }

  /** Sets the authority of the request. */
  target({ authority: { scheme, host, port } }: Pick<Target, 'authority'>): void {
    this.#known.scheme = scheme;
    this.#known.host = host;
    this.#known.port = port;
  }

  /** Adds places and forms of credentials that the client sent. */
  foreign(places: readonly string[]): void {
    this.#known.foreign = [this.#known.foreign ?? [], places].flat().join('; ');
  }

  /** Sets the path, without a credential. */
  path(path: string): void {
    this.#known.path = path.split('?', 1)[0];
  }

  /** Sets the caller. May be called before its permission is checked. */
  identity({ agent, lease, subject }: Pick<Identity, 'agent' | 'lease' | 'subject'>): void {
    this.#known.agent = agent ?? undefined;
    this.#known.lease = lease?.id;
    this.#known.subject = subject ?? undefined;
  }

  /** Returns the caller, for the event of a change that it makes. */
  caller(): Pick<AuditEvent, 'exchange' | 'agent' | 'lease' | 'subject' | 'client'> {
    const { exchange, agent, lease, subject, client } = this.#known;
    return { exchange, agent, lease, subject, client };
  }

  /** Adds the facts of the request to an event, for a trace. */
  facts(event: AuditEvent): AuditEvent {
    return { ...this.#after, ...this.#known, event: event.event, provider: this.provider };
  }

  /** Provider of the grant; undefined: no grant was selected. */
  get provider(): string | undefined {
    return this.#known.provider ?? this.#after.provider;
  }

  /** Sets the selected grant, which a refusal names. */
  selected({ id, user, provider }: Grant): void {
    this.#after = { grant: id, user, provider };
  }

  /** Sets the grant whose credential is sent. */
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

  /** Marks the request as one for the proxy itself, which accesses no upstream. */
  discovers(): void {
    this.#ending = 'discovery';
  }

  /** Marks the request as one for a token, which gets a placeholder and is not forwarded. */
  answersToken(): void {
    this.#ending = 'token.answered';
  }

  /** Event: a placeholder in the body was forwarded, because it is not replaced there. */
  unexpectedPlaceholder(): AuditEvent {
    return { ...this.#known, ...this.#after, event: 'placeholder.passed', outcome: 'allow' };
  }

  /** Event: a person is asked. */
  asked({ id }: Pick<Question, 'id'>, reason: string): AuditEvent {
    this.#known.approval = id;
    return { ...this.#known, ...this.#after, event: 'approval.asked', reason };
  }

  /** Sets the approval of a person, given now or earlier. */
  approved(id: string): void {
    this.#known.approval = id;
  }

  /** Sets the consent that the grant lacks. The reason names scopes, and has a maximum length. */
  lacks(reason: string): void {
    this.#lack = reason;
  }

  /** Sets the decision of policy. The audit records only its outcome, and `explain` also its steps. */
  decided(_decision: Decision, _facts: RequestFacts): void {}

  /** Event: a request is about to be sent, with this credential. */
  access(
    token: Pick<ReadyToken, 'grant' | 'sealed'> | null = null,
    fingerprint: (sealed: SealedCredential) => string = () => '',
  ): AuditEvent {
    this.#accessed = true;
    if (token !== null) this.grant(token.grant, fingerprint(token.sealed));
    return { ...this.#known, event: 'access', outcome: 'allow' };
  }

  /** Event: the credential of an additional grant is sent with the request. */
  added({ grant, sealed }: ReadyToken, fingerprint: (sealed: SealedCredential) => string): AuditEvent {
    const { id, user, provider } = grant;
    const its = { grant: id, user, provider, credential: fingerprint(sealed) };
    return { ...this.#known, ...its, event: 'credential.added', outcome: 'allow' };
  }

  /** Event: responses have repeated the credential too often. */
  limited(): AuditEvent {
    return { ...this.#known, event: 'leak.limited', outcome: 'deny', code: 'too_many_leaks' };
  }

  /** Adds the number of times that the response contained the credential. */
  addLeaks(times: number): void {
    this.#leaks = times;
  }

  /** Event: the end of the exchange, without the fields of its access event (see `joinExchanges`). */
  outcome({ status, bytesIn, bytesOut, outcome, code, protocol }: ExchangeResult): AuditEvent {
    const switched = protocol === undefined ? undefined : `switched to ${protocol}`;
    const end: AuditEvent = {
      event: this.#ending,
      exchange: this.exchange,
      outcome:
        code !== undefined || outcome === 'gone' ? 'aborted' : outcome === 'complete' ? 'ok' : 'failed',
      code: code ?? (this.#lack === null ? undefined : 'insufficient_scope'),
      reason: this.#lack ?? switched ?? (this.#accessed ? undefined : this.#known.reason),
      status,
      bytes_in: bytesIn === 0 ? undefined : bytesIn,
      bytes_out: bytesOut,
      duration_ms: this.#now() - this.#begunAt,
      leaks: this.#leaks,
    };
    return this.#accessed ? end : { ...this.#known, ...end };
  }

  /** Event: the request was refused, or failed after its access was recorded with so many bytes. */
  refused(error: unknown, status: number, bytes?: Pick<ExchangeResult, 'bytesIn' | 'bytesOut'>): AuditEvent {
    const accessed = this.#accessed;
    return {
      ...(accessed ? { exchange: this.exchange } : { ...this.#known, ...this.#after }),
      event: accessed ? 'outcome' : 'denied',
      outcome: accessed ? 'failed' : 'deny',
      code: error instanceof SidekeyError ? error.code : 'internal',
      status,
      ...(accessed && bytes !== undefined
        ? { bytes_in: bytes.bytesIn === 0 ? undefined : bytes.bytesIn, bytes_out: bytes.bytesOut }
        : {}),
      duration_ms: this.#now() - this.#begunAt,
      leaks: this.#leaks,
    };
  }
}
