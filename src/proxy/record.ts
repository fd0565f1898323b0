import { setImmediate } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Identity } from '../agents/authentication.ts';
import type { Question } from '../domain/approval.ts';
import type { AuditEvent } from '../domain/event.ts';
import { newExchangeId } from '../lib/exchange-id.ts';
import type { SealedCredential } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { InjectPlace, Provider } from '../domain/provider.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import type { ExchangeResult, InboundRequest } from './http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Authority } from './policy/authority.ts';
import type { Decision, ReportedOutcome } from './policy/decide.ts';
import type { RequestFacts } from './policy/request.ts';
import { isPattern, matchesPattern, parsePattern } from './policy/domain-map.ts';
import { fold, percentDecoded } from './policy/text.ts';
import { pathPrefixesOf } from './schemes/placement.ts';
import { planOf } from './plan.ts';
import type { GrantCandidates, Target } from './target.ts';

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
  outcome({ status, bytesIn, bytesOut, outcome, code }: ExchangeResult): AuditEvent {
    const end: AuditEvent = {
      event: this.#ending,
      exchange: this.exchange,
      outcome:
        code !== undefined || outcome === 'gone' ? 'aborted' : outcome === 'complete' ? 'ok' : 'failed',
      code: code ?? (this.#lack === null ? undefined : 'insufficient_scope'),
      reason: this.#lack ?? (this.#accessed ? undefined : this.#known.reason),
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

/**
 * Returns the path of a request for the record, without the place of a credential. The client may have
 * written its own credential there, even if the request is refused. A promise if every provider has to be
 * read.
 *
 * @param offer what the map offers there; null: nothing
 */
export type PathRedactor = (
  target: Target,
  offer: Pick<GrantCandidates, 'reference' | 'candidates'> | null,
) => string | Promise<string>;

/** Providers. `get` throws for an invalid definition. */
interface Providers {
  readonly names: readonly string[];
  get(name: string): Pick<Provider, 'audience' | 'inject'> | undefined;
}

/**
 * Returns the redactor of credentials in paths. If the map offers a grant, its provider says where they are;
 * otherwise the providers with the host in their audience do. Any other host may be a provider's by another
 * name, so the places of all providers are concealed there.
 */
export function createPathRedactor(providers: Providers): PathRedactor {
  let everywhere: Promise<(authority: Authority) => readonly InjectPlace[]> | undefined;
  return ({ authority, path }, offer) => {
    let shown = path;
    let isOffered = false;
    const candidates = offer?.candidates ?? [];
    for (let i = 0; i < candidates.length; i += 1) {
      const places = providers.get(candidates[i]!.provider)?.inject;
      if (places === undefined) continue;
      isOffered = true;
      for (let n = 0; n < places.length; n += 1) shown = without(shown, places[n]!);
    }
    if (isOffered) return shown;
    everywhere ??= readAll(providers);
    return everywhere.then((plansAt) => {
      // Without a grant, the reference may be the name of a provider.
      const named = offer === null ? undefined : providers.get(offer.reference)?.inject;
      return plansAt(authority).reduce(without, named === undefined ? path : named.reduce(without, path));
    });
  };
}

/** Maximum number of authorities whose providers are cached. */
const authoritiesKept = 1_000;

/** Reads every definition, with a pause after each: there are many, and other requests are under way. */
async function readAll(providers: Providers): Promise<(authority: Authority) => readonly InjectPlace[]> {
  const audiences: {
    readonly inject: readonly InjectPlace[];
    readonly patterns: ReturnType<typeof patternsOf>;
  }[] = [];
  for (const name of providers.names) {
    const provider = readable(providers, name);
    if (provider !== undefined)
      audiences.push({ inject: provider.inject, patterns: patternsOf(provider.audience) });
    await setImmediate();
  }
  const placesAt = new LRUCache<string, readonly InjectPlace[]>({ max: authoritiesKept });
  return (authority) => {
    const key = `${authority.scheme}://${authority.host}:${authority.port}`;
    let plans = placesAt.get(key);
    if (plans === undefined) {
      const here = audiences.filter(({ patterns }) =>
        patterns.some((each) => matchesPattern(each, authority)),
      );
      plans = (here.length > 0 ? here : audiences)
        .flatMap(({ inject }) => inject)
        .filter(({ as }) => pathPrefixesOf(as).length > 0);
      placesAt.set(key, plans);
    }
    return plans;
  };
}

/** Returns a definition; undefined if it is invalid, because no grant uses an invalid definition. */
function readable(providers: Providers, name: string): ReturnType<Providers['get']> {
  try {
    return providers.get(name);
  } catch {
    return undefined;
  }
}

function patternsOf(audience: readonly string[]) {
  return audience.map(parsePattern).filter(isPattern);
}

function without(path: string, { as }: InjectPlace): string {
  const prefixes = pathPrefixesOf(as);
  if (prefixes.length === 0) return path;
  const shown = prefixes.reduce((rest, prefix) => rest.replace(placeOf(prefix), () => prefix), path);
  return ambiguousPathPrefix(shown, prefixes) ?? shown;
}

const places = new Map<string, RegExp>();

/**
 * Finds the credential: the rest of the segment that starts with the prefix, in any spelling. Some servers
 * read `//bot…` and `/%62ot…` as `/bot…`.
 */
function placeOf(prefix: string): RegExp {
  const cached = places.get(prefix);
  if (cached !== undefined) return cached;
  const letters = Array.from(prefix, (letter) => {
    const hex = letter.charCodeAt(0).toString(16).padStart(2, '0');
    return `(?:\\x${hex}|%${hex})${letter === '/' ? '+' : ''}`;
  });
  const place = new RegExp(`^${letters.join('')}[^/?]*`, 'i');
  places.set(prefix, place);
  return place;
}

/** Maximum layers of percent-encoding; no server decodes more. */
const mostRounds = 8;
/** Characters at which some servers split segments: dots, backslashes, parameters, control characters. */
const moving = /[\\;\uFFFD]|\p{Cc}|\/\s*\.+\s*(?:\/|$)/u;

/**
 * Returns the part of an ambiguous path (`/x/../bot…`, `/%2562ot…`, `/;x/bot…`) before the first segment
 * that may end a prefix. The rest may hold a credential. Null: the path has one reading, or no segment
 * matches.
 *
 * @param target origin-form, with its query
 */
function ambiguousPathPrefix(target: string, prefixes: readonly string[]): string | null {
  const path = target.split('?', 1)[0] ?? '';
  if (!isOdd(path)) return null;
  const ends = prefixes.map((prefix) => prefix.split('/').findLast((segment) => segment !== '') ?? '');
  const segments: string[] = [];
  for (const segment of path.slice(1).split('/')) {
    const end = ends.find((name) => couldBe(segment, name));
    if (end !== undefined) return `/${[...segments, end].join('/')}`;
    segments.push(segment);
  }
  return null;
}

/** Paths of plain letters, without a segment that consists of dots. Most paths match. */
const plain = /^(?:\/(?!\.*(?:\/|$))[\w.~-]+)*\/?$/;

/** An encoding of IIS only: for every other server it is text. */
const wide = /%u[0-9a-f]{4}/i;

function isOdd(path: string): boolean {
  if (plain.test(path)) return false;
  if (wide.test(path)) return true;
  const bytes = inUtf8(percentDecoded(path));
  const read = fold(bytes);
  return read !== bytes.toLowerCase() || read !== decoded(read) || moving.test(read);
}

/** Reports whether a segment or a part of it may start with a name, in the reading with the most matches. */
function couldBe(segment: string, name: string): boolean {
  let read = fold(segment);
  for (let round = 0; round < mostRounds; round += 1) {
    const next = decoded(read);
    if (next === read) return read.split(/[/\\;]/).some((part) => part.trimStart().startsWith(fold(name)));
    read = next;
  }
  return true;
}

/** Decodes one layer of percent-encoding, including that of IIS. */
function decoded(text: string): string {
  return fold(inUtf8(percentDecoded(text)));
}

/** Decodes bytes, given as one character each, as UTF-8. */
function inUtf8(text: string): string {
  // oxlint-disable-next-line no-control-regex -- all bytes
  return /^[\0-\xff]*$/.test(text) ? Buffer.from(text, 'latin1').toString('utf8') : text;
}
