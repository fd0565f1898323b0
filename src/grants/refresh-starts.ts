import type { Provider } from '../domain/provider.ts';
import type { ActivityNotes } from './activity.ts';
import type { AttemptOutcome, RefreshParts } from './refresh.ts';
import { comingRefresh, type RefreshTimes, type Span } from './refresh-times.ts';
import type { Registry } from './registry.ts';
import type { TokenSource } from './token-source.ts';

/** Starts of refreshes ahead of requests: when each is due, and how many run at a token endpoint. */

/** Longest time between two reads while grants are used or refreshed: new tokens may end sooner. */
export const usedNewsMs = 60_000;
/** Sleep after a failure of the store. */
export const faultMs = 30_000;
/** Span in which overdue refreshes start at a random time. */
const overdueMs = 10_000;
/** Lateness after which a time counts as missed, because the machine slept. */
export const missedMs = 30_000;
/** Maximum concurrent refreshes per token endpoint. */
const maxAtOnce = 4;
/** Pause after a refresh, while the record of the grant is unchanged. */
const attendedMs = 60_000;
/** Pause after a refusal, unless the grant or the configuration changes. */
export const refusedMs = 900_000;

/** State of a grant's refreshes, valid while its record and its provider are unchanged. */
export interface Entry {
  readonly id: string;
  readonly revision: number;
  readonly provider: Provider | undefined;
  readonly endpoint: string;
  readonly times: RefreshTimes;
  readonly obtainedAt: number | null;
  /** 0 to 1: position of this process within a span. */
  readonly fraction: number;
  /** Last use in the store; null: none. */
  usedAt: number | null;
  /** Number of the last pass that found the grant due. */
  pass: number;
  /** True if it was found by `dueAt`, false if by `obtainedAt`. */
  isByDueAt: boolean;
  /** Start of the delay of overdue refreshes. */
  seenAt: number;
  held: { readonly since: number; readonly ms: number } | null;
}

export interface StartParts extends Pick<RefreshParts, 'now'> {
  readonly registry: Pick<Registry, 'open'>;
  readonly tokens: Pick<TokenSource, 'refreshAhead'>;
  readonly activity: Pick<ActivityNotes, 'unwrittenUse'>;
  /** Milliseconds for which a grant's token is kept fresh after its last use. */
  readonly keepFreshMs: number;
  readonly logger: { warn(fields: object, message: string): void };
}

/** State and functions of the schedule that the starts use. */
interface Schedule {
  /** Grants in memory, by ID. */
  readonly entries: Map<string, Entry>;
  /** True while more grants are due than are kept in memory. */
  isCrowded: boolean;
  closed: boolean;
  /** Schedules a check at this time at the latest. */
  readonly wakeBy: (at: number) => void;
  /** Schedules a read of the due grants at this time at the latest. */
  readonly passBy: (at: number) => void;
}

/** Returns functions that start due refreshes. Has no side effects. */
export function createRefreshStarts(parts: StartParts, schedule: Schedule) {
  const { registry, tokens, now, logger } = parts;
  const { entries, wakeBy, passBy } = schedule;
  /** IDs of the grants whose refresh is in progress, by token endpoint. */
  const running = new Map<string, Set<string>>();
  /** Due grants that wait for others at their token endpoint. */
  const waiting = new Map<string, Entry[]>();

  /** Returns the next refresh of a grant; null: none. */
  function comingOf({ id, times, usedAt }: Entry) {
    const unwritten = parts.activity.unwrittenUse(id);
    const last = usedAt === null || unwritten === null ? (usedAt ?? unwritten) : Math.max(usedAt, unwritten);
    return comingRefresh(times, { usedAt: last, now: now(), keepFreshMs: parts.keepFreshMs });
  }

  /** Starts the due refreshes. Returns the time of the next one. */
  function attendAll(): number {
    waiting.clear();
    let next = Infinity;
    for (const entry of entries.values()) next = Math.min(next, attend(entry));
    return next;
  }

  /** Starts a due refresh. Otherwise returns its time; infinite: none, or the end of another starts it. */
  function attend(entry: Entry): number {
    const { id, endpoint } = entry;
    const time = now();
    const coming = comingOf(entry);
    const atEndpoint = running.get(endpoint);
    if (coming === null || atEndpoint?.has(id) === true) return Infinity;
    const at = Math.max(momentOf(entry, coming.span, time), endOfHold(entry, time));
    if (at > time) return at;
    if (atEndpoint !== undefined && atEndpoint.size >= maxAtOnce) {
      const others = waiting.get(endpoint);
      if (others === undefined) waiting.set(endpoint, [entry]);
      else others.push(entry);
    } else begin(entry, coming.why === 'ahead' ? 'due' : 'even if fresh');
    return Infinity;
  }

  function begin(entry: Entry, when: 'due' | 'even if fresh'): void {
    const { id, endpoint } = entry;
    const atEndpoint = running.get(endpoint) ?? new Set();
    running.set(endpoint, atEndpoint.add(id));
    void refresh(entry, when)
      .catch((error: unknown): AttemptOutcome => {
        logger.warn({ grant: id, err: error }, 'A refresh ahead of time could not be made.');
        return { kind: 'later', reason: null, retryAfterMs: faultMs };
      })
      .then((outcome) => {
        entry.held = { since: now(), ms: holdOf(outcome) };
        if (outcome.kind === 'renewed') entries.delete(id);
        atEndpoint.delete(id);
        if (atEndpoint.size === 0) running.delete(endpoint);
        if (schedule.closed) return;
        // The new token may end soon.
        passBy(now() + usedNewsMs);
        wakeBy(now() + entry.held.ms);
        beginNext(endpoint);
      });
  }

  async function refresh({ id, revision }: Entry, when: 'due' | 'even if fresh'): Promise<AttemptOutcome> {
    // Another process may have used the refresh token since the entry was read.
    const isDone = when === 'even if fresh' && (await registry.open(id))?.grant.revision !== revision;
    return isDone ? { kind: 'renewed', opened: null } : tokens.refreshAhead(id, when);
  }

  /** Starts the next refresh that waits for others at its token endpoint. */
  function beginNext(endpoint: string): void {
    const queue = waiting.get(endpoint) ?? [];
    for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
      if (entries.get(entry.id) === entry) wakeBy(attend(entry));
      if ((running.get(endpoint)?.size ?? 0) >= maxAtOnce) return;
    }
  }

  function momentOf(entry: Entry, { from, to }: Span, time: number): number {
    // The clock was set back, or the time was missed. Other processes missed it too, so refreshes are spread.
    if (entry.seenAt > time) entry.seenAt = time;
    const ms = schedule.isCrowded ? Math.min(overdueMs, to - from) : to - from;
    const planned = Math.max(from + entry.fraction * ms, entry.seenAt + entry.fraction * overdueMs);
    if (time - planned < missedMs) return planned;
    entry.seenAt = time;
    return time + entry.fraction * overdueMs;
  }

  return { attendAll, comingOf };
}

/** Returns the time at which a pause after a refresh ends. */
export function endOfHold({ held }: Entry, time: number): number {
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
