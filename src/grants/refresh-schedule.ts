import { asTyped } from '../lib/command-name.ts';
import { systemTimers, type Timers } from '../lib/timers.ts';
import type { Store } from '../store/store.ts';
import type { ActivityNotes } from './activity.ts';
import {
  dueAt,
  type OAuth2Credential,
  type SealedCredential,
  type OpenedGrant,
} from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { Dialect, Provider } from '../domain/provider.ts';
import { placeOf } from './refresh-backoff.ts';
import { type ReferenceParts, unreadableReferences } from './references.ts';
import type { AttemptOutcome, RefreshParts } from './refresh.ts';
import type { Registry } from './registry.ts';
import type { TokenSource } from './token-source.ts';
import { hintText } from '../lib/hint.ts';

/**
 * Background refreshes: of access tokens of grants in use before they end, and of refresh tokens before they
 * expire unused. The schedule sets the times; the token source refreshes, once over all processes.
 */

export interface RefreshSchedule {
  /** Notes that a request received a credential. Takes nanoseconds, for the request path. */
  used(): void;
  /** Checks all grants now, after a change. */
  look(): void;
  /** Starts no further refresh. The token source finishes those in progress. Idempotent. */
  close(): Promise<void>;
}

interface ScheduleParts extends Pick<RefreshParts, 'providers' | 'readSecret' | 'now' | 'skewMs'> {
  readonly registry: Pick<Registry, 'list' | 'open' | 'read'>;
  readonly store: Pick<Store, 'activity' | 'epoch' | 'grantPolicies'>;
  readonly tokens: Pick<TokenSource, 'refreshAhead'>;
  readonly activity: Pick<ActivityNotes, 'unwrittenUse'>;
  readonly sources: ReferenceParts['sources'];
  /** Milliseconds for which a grant's token is kept fresh after its last use. */
  readonly keepFreshMs: number;
  readonly logger: { warn(fields: object, message: string): void };
  /** Default: timers of the process. */
  readonly timers?: Timers;
  /** 0 to 1. Default: `Math.random`. */
  readonly random?: () => number;
}

/** Milliseconds before the first check: requests go first. */
const startMs = 1_000;
/** Longest sleep, because other processes add grants and clocks jump. */
const newsMs = 300_000;
/** Longest sleep while grants are in use: a token fetched on demand may expire before any token we track. */
const usedNewsMs = 60_000;
/** Sleep after a failure of the store. */
const faultMs = 30_000;
/** Span in which overdue refreshes start at a random time. */
const overdueMs = 10_000;
/** Lateness after which a time counts as missed, because the machine slept. */
const missedMs = 30_000;
/** Maximum concurrent refreshes per token endpoint. */
const maxAtOnce = 4;
/** Pause after a refresh, while the record of the grant is unchanged. */
const attendedMs = 60_000;
/** Pause after a refusal, unless the grant or the configuration changes. */
const refusedMs = 900_000;

/** State of a grant's refreshes, valid while its record and its provider are unchanged. */
interface Entry {
  readonly revision: number;
  readonly provider: Provider | undefined;
  readonly endpoint: string;
  readonly times: RefreshTimes;
  /** 0 to 1: position of this process within a span. */
  readonly fraction: number;
  /** Start of the delay of overdue refreshes. */
  seenAt: number;
  held: { readonly since: number; readonly ms: number } | null;
  /** Sentences about references that cannot be read. */
  unreadable: readonly string[];
}

/** Last use of each grant, read from the store. */
interface LastUses {
  readonly epoch: number;
  readonly readAt: number;
  readonly at: ReadonlyMap<string, number>;
}

const never: RefreshTimes = { ahead: null, keepAlive: null };

/** Schedules the first check. */
export function startRefreshSchedule(parts: ScheduleParts): RefreshSchedule {
  const { registry, store, tokens, now, logger, timers = systemTimers, random = Math.random } = parts;
  const entries = new Map<string, Entry>();
  /** Token endpoints of the refreshes in progress, by grant ID. */
  const running = new Map<string, string>();
  let uses: LastUses | null = null;
  let timer: { readonly at: number; readonly cancel: () => void } | null = null;
  let looking: Promise<void> | null = null;
  let lookAgain = false;
  let usedSinceLook = false;
  let closed = false;

  /** Schedules a check at `at`, but not later than `newsMs`. */
  function wakeAt(at: number): void {
    timer?.cancel();
    timer = null;
    if (closed) return;
    const ms = Math.min(Math.max(0, Math.ceil(at - now())), newsMs);
    timer = { at: now() + ms, cancel: timers.after(ms, look) };
  }

  function look(): void {
    if (closed) return;
    if (looking !== null) {
      lookAgain = true;
      return;
    }
    lookAgain = false;
    usedSinceLook = false;
    looking = lookOnce().then((next) => {
      looking = null;
      if (lookAgain) look();
      else wakeAt(usedSinceLook ? Math.min(next, now() + usedNewsMs) : next);
    });
  }

  /** Starts the due refreshes. Returns the time of the next check. */
  async function lookOnce(): Promise<number> {
    let next = Infinity;
    try {
      const ended = await idsOfEnded();
      const grants = (await registry.list()).filter((grant) => isAlive(grant) && !ended.has(grant.id));
      const usedAt = await lastUses();
      forgetAllBut(grants);
      for (const grant of grants) {
        const entry = await entryOf(grant);
        if (closed) return next;
        const at = attend(grant, entry, usedAt(grant.id));
        if (at !== null) next = Math.min(next, at);
      }
    } catch (error) {
      logger.warn({ err: error }, 'The grants could not be checked for due refreshes.');
      next = now() + faultMs;
    }
    return next;
  }

  /** Starts a due refresh. Otherwise returns its time; null: no time is known. */
  function attend(grant: Grant, entry: Entry, usedAt: number | null): number | null {
    const time = now();
    const coming = comingRefresh(entry.times, { usedAt, now: time, keepFreshMs: parts.keepFreshMs });
    if (coming === null || running.has(grant.id)) return null;
    const at = Math.max(momentOf(entry, coming.span, time), endOfHold(entry, time));
    if (at > time) return at;
    const atOnce = [...running.values()].filter((endpoint) => endpoint === entry.endpoint).length;
    // The end of a refresh triggers the next check.
    if (atOnce >= maxAtOnce) return null;
    begin(grant.id, entry, coming.why === 'ahead' ? 'due' : 'even if fresh');
    return null;
  }

  function begin(id: string, entry: Entry, when: 'due' | 'even if fresh'): void {
    running.set(id, entry.endpoint);
    void tokens
      .refreshAhead(id, when)
      .catch((error: unknown): AttemptOutcome => {
        logger.warn({ grant: id, err: error }, 'A refresh ahead of time could not be made.');
        return { kind: 'later', reason: null, retryAfterMs: faultMs };
      })
      .then((outcome) => {
        entry.held = { since: now(), ms: holdOf(outcome) };
        running.delete(id);
        look();
      });
  }

  function momentOf(entry: Entry, { from, to }: Span, time: number): number {
    // The clock was set back, or the time was missed. Other processes missed it too, so refreshes are spread.
    if (entry.seenAt > time) entry.seenAt = time;
    const planned = Math.max(from + entry.fraction * (to - from), entry.seenAt + entry.fraction * overdueMs);
    if (time - planned < missedMs) return planned;
    entry.seenAt = time;
    return time + entry.fraction * overdueMs;
  }

  async function entryOf(grant: Grant): Promise<Entry> {
    const provider = parts.providers(grant.provider);
    const before = entries.get(grant.id);
    if (before?.revision === grant.revision && before.provider === provider) return before;
    const opened = await openedOrNull(grant);
    const entry: Entry = {
      revision: grant.revision,
      provider,
      endpoint: opened === null ? grant.provider : placeOf(opened).endpoint,
      times:
        opened === null
          ? never
          : refreshTimesOf(opened.sealed, { skewMs: parts.skewMs, dialect: provider?.dialect ?? null }),
      fraction: random(),
      seenAt: now(),
      held: null,
      unreadable: before?.unreadable ?? [],
    };
    entries.set(grant.id, entry);
    const unreadable = opened === null ? [] : await unreadableReferences(opened, parts);
    // Once, although `connect` and refreshes change the record.
    for (const { code, sentence, hint } of unreadable)
      if (!entry.unreadable.includes(sentence))
        logger.warn({ grant: grant.id, code, hint: asTyped(hintText(hint)) }, sentence);
    entry.unreadable = unreadable.map(({ sentence }) => sentence);
    return entry;
  }

  /** A grant that cannot be opened does not stop the others. */
  async function openedOrNull(grant: Grant): Promise<OpenedGrant | null> {
    try {
      return await registry.open(grant.id);
    } catch (error) {
      logger.warn({ grant: grant.id, err: error }, 'A grant cannot be opened, so it is not kept fresh.');
      return null;
    }
  }

  /**
   * Returns the last use of each grant by any process. Reads again after changes of the store, and every
   * minute while tokens expire: a store shared by machines does not signal uses.
   */
  async function lastUses(): Promise<(grantId: string) => number | null> {
    const epoch = store.epoch();
    const isOld = uses === null || Math.abs(now() - uses.readAt) >= usedNewsMs;
    const hasEnds = [...entries.values()].some(({ times }) => times.ahead !== null);
    if (uses?.epoch !== epoch || (isOld && hasEnds)) {
      const readAt = now();
      const listed = await store.activity.list();
      uses = {
        epoch,
        readAt,
        at: new Map(listed.map(({ grantId, usedAt }) => [grantId, usedAt ?? -Infinity])),
      };
    }
    const { at } = uses;
    return (grantId) => {
      const last = Math.max(at.get(grantId) ?? -Infinity, parts.activity.unwrittenUse(grantId) ?? -Infinity);
      return last === -Infinity ? null : last;
    };
  }

  /** IDs of grants past the end that a person set. Their tokens are no longer used. */
  async function idsOfEnded(): Promise<ReadonlySet<string>> {
    const policies = await store.grantPolicies.list();
    const time = now();
    return new Set(
      policies.flatMap(({ grantId, expiresAt }) =>
        expiresAt !== null && expiresAt <= time ? [grantId] : [],
      ),
    );
  }

  function forgetAllBut(grants: readonly Grant[]): void {
    const ids = new Set(grants.map(({ id }) => id));
    for (const id of entries.keys()) if (!ids.has(id)) entries.delete(id);
  }

  wakeAt(now() + startMs);
  return {
    used() {
      if (usedSinceLook) return;
      usedSinceLook = true;
      const soon = now() + usedNewsMs;
      if (timer !== null && timer.at > soon) wakeAt(soon);
    },
    look,
    async close() {
      closed = true;
      timer?.cancel();
      await looking;
    },
  };
}

/** Reports whether a refresh may help. A grant that needs a new consent is not refreshed. */
function isAlive({ state, refreshable }: Grant): boolean {
  return refreshable && (state === 'active' || state === 'expired');
}

function endOfHold({ held }: Entry, time: number): number {
  return held === null || held.since > time ? 0 : held.since + held.ms;
}

function holdOf(outcome: AttemptOutcome): number {
  switch (outcome.kind) {
    case 'renewed':
      return attendedMs;
    case 'later':
      return outcome.retryAfterMs ?? faultMs;
    case 'refused':
      return refusedMs;
  }
}

/** Times of background refreshes. Pure; times are milliseconds since the epoch. */

/** Period in which a refresh starts, to spread those of many processes and grants. */
interface Span {
  readonly from: number;
  readonly to: number;
}

export interface RefreshTimes {
  /** Time before the access token expires, for recently used grants; null: refreshed on use, or never. */
  readonly ahead: Span | null;
  /** Time before an unused refresh token expires; null: it does not expire, or its lifetime is unknown. */
  readonly keepAlive: Span | null;
}

/** Shorter-lived tokens are not kept fresh: they would be refreshed all day. */
const minLifetimeMs = 60_000;

/**
 * Returns the refresh times. The second half of the time in which a token is due is left for failed attempts.
 * So is the second half of a refresh token's idle lifetime, for a machine that is off.
 */
export function refreshTimesOf(
  { credential }: SealedCredential,
  { skewMs, dialect }: { readonly skewMs: number; readonly dialect: Dialect | null },
): RefreshTimes {
  if (credential.type !== 'oauth2') return { ahead: null, keepAlive: null };
  return { ahead: ahead(credential, skewMs), keepAlive: keepAlive(credential, dialect) };
}

function ahead(credential: OAuth2Credential, skewMs: number): Span | null {
  const from = dueAt(credential, skewMs);
  const { expiresAt, obtainedAt } = credential;
  if (from === null || expiresAt === null || expiresAt - obtainedAt < minLifetimeMs) return null;
  return { from, to: (from + expiresAt) / 2 };
}

function keepAlive(credential: OAuth2Credential, dialect: Dialect | null): Span | null {
  const idleMs = dialect?.refreshTokenIdleTimeoutMs ?? null;
  if (idleMs === null || credential.refreshToken === null) return null;
  const from = credential.obtainedAt + idleMs / 2;
  return { from, to: from + idleMs / 10 };
}

/** Times at which a refresh token expires. */
export interface RefreshTokenEnds {
  /** Expiry if unused; null: unknown. */
  readonly unusedAt: number | null;
  /** Expiry despite use; null: unknown. */
  readonly consentAt: number | null;
}

/** `consentedAt`: time of the consent, as far as known. */
export function refreshTokenEndsOf(
  { credential }: SealedCredential,
  { dialect, consentedAt }: { readonly dialect: Dialect | null; readonly consentedAt: number },
): RefreshTokenEnds {
  if (credential.type !== 'oauth2' || credential.refreshToken === null || dialect === null)
    return { unusedAt: null, consentAt: null };
  const { refreshTokenIdleTimeoutMs, refreshTokenLifetimeMs } = dialect;
  return {
    unusedAt: refreshTokenIdleTimeoutMs === null ? null : credential.obtainedAt + refreshTokenIdleTimeoutMs,
    consentAt: refreshTokenLifetimeMs === null ? null : consentedAt + refreshTokenLifetimeMs,
  };
}

/**
 * Returns the next background refresh; null: none. `usedAt`: last use, null: never. `keepFreshMs`:
 * milliseconds for which a token is kept fresh after its last use.
 */
export function comingRefresh(
  { ahead, keepAlive }: RefreshTimes,
  {
    usedAt,
    now,
    keepFreshMs,
  }: { readonly usedAt: number | null; readonly now: number; readonly keepFreshMs: number },
): { readonly why: keyof RefreshTimes; readonly span: Span } | null {
  const isKeptFresh = ahead !== null && usedAt !== null && Math.max(ahead.from, now) - usedAt < keepFreshMs;
  if (isKeptFresh && (keepAlive === null || ahead.from <= keepAlive.from))
    return { why: 'ahead', span: ahead };
  return keepAlive === null ? null : { why: 'keepAlive', span: keepAlive };
}
