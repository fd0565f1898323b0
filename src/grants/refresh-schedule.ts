import { setImmediate as nextTurn } from 'node:timers/promises';
import { asTyped } from '../lib/command-name.ts';
import { hintText } from '../lib/hint.ts';
import { systemTimers, type Timers } from '../lib/timers.ts';
import type { DueGrant, GrantRecord, RefreshPlan, Store } from '../store/store.ts';
import type { OpenedGrant } from '../domain/credential.ts';
import { placeOf } from './refresh-backoff.ts';
import { type ReferenceParts, unreadableReferences } from './references.ts';
import type { RefreshParts } from './refresh.ts';
import {
  createRefreshStarts,
  endOfHold,
  type Entry,
  faultMs,
  missedMs,
  refusedMs,
  type StartParts,
  usedNewsMs,
} from './refresh-starts.ts';
import { isKept, refreshTimesOf, refreshTokenSince } from './refresh-times.ts';
import type { Registry } from './registry.ts';

/**
 * Background refreshes: of access tokens of grants in use before they end, and of refresh tokens before they
 * expire unused. The schedule reads the grants that are due in the next minutes, in pages, and sets the
 * times; the token source refreshes, once over all processes.
 */

export type RefreshSchedule = ReturnType<typeof startRefreshSchedule>;

interface ScheduleParts extends StartParts, Pick<RefreshParts, 'providers' | 'readSecret' | 'skewMs'> {
  readonly registry: Pick<Registry, 'open' | 'openRecord' | 'read'>;
  readonly store: Pick<Store, 'grants'>;
  readonly sources: ReferenceParts['sources'];
  /** Default: timers of the process. */
  readonly timers?: Timers;
  /** 0 to 1. Default: `Math.random`. */
  readonly random?: () => number;
}

/** Milliseconds before the first check: requests go first. */
const startMs = 1_000;
/** Longest time between two reads, because other processes add grants and clocks jump. */
const newsMs = 300_000;
/** Time between two searches for refresh tokens that expire unused, which takes days. */
const unusedEveryMs = 3_600_000;
/** Pause within a read, and shortest time between two checks of many grants: requests go first. */
const yieldMs = 20;
/** Pause between two reads while more grants are due than are kept in memory. */
const crowdedMs = 5_000;
/** Grants in a page. */
const pageSize = 200;
/** Grants that one turn of the event loop opens: some milliseconds. */
const turnSize = 40;
/** Maximum number of grants in memory, without their credentials. */
const maxEntries = 5_000;
/** Maximum number of grants whose warnings are remembered. */
const maxWarned = 1_000;

/** The place of a read in the pages: those of `dueAt`, then those of each provider. */
interface Place {
  /** Null: pages of `dueAt`. */
  readonly provider: string | null;
  readonly after: { readonly at: number; readonly id: string } | null;
}

const firstPlace: Place = { provider: null, after: null };

/** Schedules the first check. */
export function startRefreshSchedule(parts: ScheduleParts) {
  const { registry, store, now, logger, timers = systemTimers, random = Math.random } = parts;
  const entries = new Map<string, Entry>();
  /** Logged warnings, by grant ID. */
  const warned = new Map<string, readonly string[]>();
  let timer: { readonly at: number; readonly cancel: () => void } | null = null;
  let looking: Promise<void> | null = null;
  /** Earliest time that was requested during a check. */
  let soonest = Infinity;
  let nextPassAt = 0;
  let lastPassAt = -Infinity;
  let nextUnusedAt = 0;
  let hasUnused = false;
  let pass = 0;
  let place = firstPlace;
  let usedSincePass = false;
  let lookAgain = false;
  const schedule = { entries, isCrowded: false, closed: false, wakeBy, passBy };
  const { attendAll, comingOf } = createRefreshStarts(parts, schedule);

  /** Schedules a check at `at`, but not later than `newsMs`. */
  function wakeAt(at: number): void {
    timer?.cancel();
    timer = null;
    if (schedule.closed) return;
    const least = entries.size > pageSize ? yieldMs : 0;
    const ms = Math.min(Math.max(least, Math.ceil(at - now())), newsMs);
    timer = { at: now() + ms, cancel: timers.after(ms, check) };
  }

  function wakeBy(at: number): void {
    if (looking !== null) soonest = Math.min(soonest, at);
    else if (timer !== null && timer.at > at) wakeAt(at);
  }

  function passBy(at: number): void {
    nextPassAt = Math.min(nextPassAt, at);
    wakeBy(at);
  }

  /** Reads the due grants now, after a change. */
  function look(): void {
    nextUnusedAt = -Infinity;
    nextPassAt = -Infinity;
    if (looking === null) check();
    else lookAgain = true;
  }

  function check(): void {
    if (schedule.closed || looking !== null) return;
    lookAgain = false;
    soonest = Infinity;
    looking = checkOnce().then((next) => {
      looking = null;
      if (lookAgain) {
        nextPassAt = -Infinity;
        check();
      } else wakeAt(Math.min(next, soonest));
    });
  }

  /** Reads pages if it is time, and starts the due refreshes. Returns the time of the next check. */
  async function checkOnce(): Promise<number> {
    try {
      // A clock that was set back must not delay the next pass.
      const isTime = now() >= nextPassAt || nextPassAt - now() > newsMs;
      if (place !== firstPlace || isTime) await read();
    } catch (error) {
      logger.warn({ err: error }, 'The grants could not be checked for due refreshes.');
      place = firstPlace;
      nextPassAt = now() + faultMs;
    }
    if (schedule.closed) return Infinity;
    return Math.min(place === firstPlace ? nextPassAt : now() + yieldMs, attendAll());
  }

  /** Begins or continues a pass over the due grants, and reads up to one full page. */
  async function read(): Promise<void> {
    if (place === firstPlace) await beginPass();
    for (;;) {
      const { provider, after } = place;
      // Entries found by `obtainedAt` stay until the next search.
      const horizon = now() + (provider === null ? newsMs : unusedEveryMs);
      const page = await pageOf(place, horizon);
      const plans: RefreshPlan[] = [];
      for (const [index, due] of page.entries()) {
        if (index % turnSize === turnSize - 1) await nextTurn();
        const plan = await take(due, horizon, provider === null);
        if (plan !== null) plans.push(plan);
        if (schedule.closed) return;
      }
      await store.grants.plan(plans);
      schedule.isCrowded = entries.size >= maxEntries;
      const last = page.at(-1);
      if (last !== undefined && page.length === pageSize && !schedule.isCrowded) {
        place = { provider, after: { at: last.at, id: last.record.id } };
        return;
      }
      const isLast = schedule.isCrowded || !hasUnused;
      const next = isLast ? null : await store.grants.providerAfter(provider ?? '');
      if (next === null) return endPass();
      place = { provider: next, after: null };
      if (after !== null) return;
    }
  }

  async function beginPass(): Promise<void> {
    const time = now();
    if (time < lastPassAt - missedMs) await store.grants.planAnew();
    lastPassAt = time;
    nextPassAt = time + newsMs;
    usedSincePass = false;
    pass += 1;
    hasUnused = time >= nextUnusedAt || nextUnusedAt - time > unusedEveryMs;
    if (hasUnused) nextUnusedAt = time + unusedEveryMs;
  }

  function endPass(): void {
    place = firstPlace;
    if (schedule.isCrowded) passBy(now() + crowdedMs);
    for (const [id, entry] of entries)
      if (entry.pass !== pass && (entry.isByDueAt || hasUnused)) entries.delete(id);
  }

  async function pageOf({ provider, after }: Place, horizon: number): Promise<readonly DueGrant[]> {
    const query = { after, limit: pageSize };
    if (provider === null) return store.grants.due({ ...query, before: Math.floor(horizon) });
    const idleMs = parts.providers(provider)?.dialect.refreshTokenIdleTimeoutMs ?? null;
    if (idleMs === null) return [];
    return store.grants.due({ ...query, provider, before: Math.floor(horizon - idleMs / 2) });
  }

  /** Keeps a grant in memory if its refresh begins before `horizon`. Returns a new time for the store. */
  async function take(
    { record, at, usedAt, endsAt }: DueGrant,
    horizon: number,
    isByDueAt: boolean,
  ): Promise<RefreshPlan | null> {
    const { id, revision } = record;
    const isOver = !isKept(record) || (endsAt !== null && endsAt <= now());
    const entry = isOver ? null : await entryOf(record);
    entries.delete(id);
    let dueAt = isOver ? null : now() + refusedMs;
    if (entry !== null) {
      entry.usedAt = usedAt;
      entry.pass = pass;
      entry.isByDueAt = isByDueAt;
      const span = comingOf(entry)?.span;
      // In a crowd, grants that failed leave their place to others.
      const isParked = schedule.isCrowded && isByDueAt && endOfHold(entry, now()) > horizon;
      if (span !== undefined && span.from <= horizon && entries.size < maxEntries && !isParked)
        entries.set(id, entry);
      dueAt = isParked ? endOfHold(entry, now()) : nextLook(entry, horizon);
    }
    if (!isByDueAt || dueAt === at) return null;
    // Records of older versions have no time, also after a first look that could not open them.
    const news = entry === null ? {} : { obtainedAt: entry.obtainedAt };
    return { id, revision, was: at, dueAt: dueAt === null ? null : Math.ceil(dueAt), ...news };
  }

  /** Returns the time of `dueAt`. Null: the token is not kept fresh, and a use refreshes it. */
  function nextLook(entry: Entry, horizon: number): number | null {
    const { ahead } = entry.times;
    if (ahead === null) return null;
    // Uses in the first half of the time in which the token is due may not be in the store yet.
    const isWatched = ahead.from > horizon || now() < ahead.to || comingOf(entry)?.why === 'ahead';
    return isWatched ? Math.floor(ahead.from) : null;
  }

  /** Returns the state of a grant; null: it cannot be opened. */
  async function entryOf(record: GrantRecord): Promise<Entry | null> {
    const { id, revision } = record;
    const provider = parts.providers(record.provider);
    const before = entries.get(id);
    if (before?.revision === revision && before.provider === provider) return before;
    const opened = await openedOrNull(record);
    if (opened === null) return null;
    for (const { code, sentence, hint } of await warnable(opened))
      logger.warn({ grant: id, code, hint: asTyped(hintText(hint)) }, sentence);
    return {
      id,
      revision,
      provider,
      endpoint: placeOf(opened).endpoint,
      times: refreshTimesOf(opened.sealed, { skewMs: parts.skewMs, dialect: provider?.dialect ?? null }),
      obtainedAt: refreshTokenSince(opened.sealed.credential),
      fraction: random(),
      usedAt: null,
      pass,
      isByDueAt: true,
      seenAt: now(),
      held: null,
    };
  }

  /** Returns the unreadable references of a grant without those that were logged since they were readable. */
  async function warnable(opened: OpenedGrant) {
    const { id } = opened.grant;
    const unreadable = await unreadableReferences(opened, parts);
    const before = warned.get(id) ?? [];
    remember(
      id,
      unreadable.map(({ sentence }) => sentence),
    );
    return unreadable.filter(({ sentence }) => !before.includes(sentence));
  }

  function remember(id: string, sentences: readonly string[]): void {
    warned.delete(id);
    if (sentences.length > 0) warned.set(id, sentences);
    const [oldest] = warned.keys();
    if (warned.size > maxWarned && oldest !== undefined) warned.delete(oldest);
  }

  /** A grant that cannot be opened does not stop the others. */
  async function openedOrNull(record: GrantRecord): Promise<OpenedGrant | null> {
    try {
      return await registry.openRecord(record);
    } catch (error) {
      const { id } = record;
      const sentence = 'A grant cannot be opened, so it is not kept fresh.';
      if (warned.get(id)?.includes(sentence) !== true) logger.warn({ grant: id, err: error }, sentence);
      remember(id, [sentence]);
      return null;
    }
  }

  nextPassAt = now() + startMs;
  wakeAt(nextPassAt);
  return {
    /** Notes that a request received a credential. Takes nanoseconds, for the request path. */
    used(): void {
      if (usedSincePass) return;
      usedSincePass = true;
      passBy(now() + usedNewsMs);
    },
    look,
    /** Starts no further refresh. The token source finishes those in progress. Idempotent. */
    async close(): Promise<void> {
      schedule.closed = true;
      timer?.cancel();
      await looking;
    },
  };
}
