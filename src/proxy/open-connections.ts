import { setImmediate as nextTurn } from 'node:timers/promises';
import { SidekeyError } from '../errors.ts';
import type { Timers } from '../grants/timers.ts';
import type { Policy } from '../policy/decide.ts';
import type { Carried } from './message.ts';
import { endOfRight, type Right } from './right.ts';
import type { Rooms, Settings } from './rooms.ts';

/** Something that lasts: a blind tunnel, a WebSocket, a response that streams. */
export interface OpenConnection {
  /** Destroyed when the right has ended. */
  readonly client: Cuttable;
  readonly right: Right;
  /**
   * Why policy, as it is now, would not let it begin. Null: policy is not asked again, nor is whether callers need a
   * token; what ends by itself goes on under the config that it began with.
   */
  readonly refusal: ((policy: Policy, now: number) => Refusal | Promise<Refusal>) | null;
  /** Settles what went through since the last look; it may end the work. Absent: nothing is to settle. */
  readonly settle?: () => void;
}

/** What can be cut: a connection, or one stream of it. */
export interface Cuttable {
  destroy(): unknown;
  /** Bytes so far; absent: they are not counted. */
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
}

type Refusal = SidekeyError | null;

/** All that is open, so that what a right let through ends with the right. */
export interface OpenConnections {
  /** Does the work, and cuts its connection when the right ends; what was carried then has the code that says why. */
  during(connection: OpenConnection, work: () => Promise<Carried>): Promise<Carried>;
  /** Looks at all of them now; resolves when that is done. */
  recheck(): Promise<void>;
  /** Looks no more. */
  close(): void;
}

interface Entry extends OpenConnection {
  bytes: number;
  judgedAt: number;
  /** When the clock ends the right, as far as was known when it was last asked for. */
  endsAt: number;
  cutBy: SidekeyError | null;
}

/** So late a right that somebody took away, or a time window that closed, is noticed at most. */
const everyMs = 1_000;
/** So long after its beginning the end of a right is asked for. */
const soonMs = 20;
/** So long what is open outlives a store that cannot be asked. */
const unaskedMs = 30_000;
/** Judged in one turn of the event loop: requests go in between. */
const atOnce = 200;

/** Sets no timer while nothing is open. */
export function createOpenConnections(
  rooms: Pick<Rooms, 'grants' | 'log' | 'now'> & {
    readonly inForce: () => Pick<Settings, 'policy' | 'agents'>;
  },
  timers: Timers,
): OpenConnections {
  const open = new Set<Entry>();
  let cancel: (() => void) | null = null;
  /** Of the next look, while there is one. */
  let wakesAt = Infinity;
  let looking: Promise<void> | null = null;
  let closed = false;
  /** What began a moment ago. */
  let begun: Entry[] = [];
  let cancelLearning: (() => void) | null = null;

  function wakeAt(at: number): void {
    cancel?.();
    cancel = null;
    if (closed || open.size === 0) return;
    const now = rooms.now();
    wakesAt = Math.min(Math.max(at, now), now + everyMs);
    cancel = timers.after(wakesAt - now, () => void recheck());
  }

  async function recheck(): Promise<void> {
    // One that is under way may have passed by what has changed since.
    await looking;
    looking ??= look().finally(() => (looking = null));
    await looking;
  }

  async function look(): Promise<void> {
    let count = 0;
    // What begins meanwhile is for the next look: a busy proxy would never come to an end.
    const all = Array.from(open);
    for (const entry of all) {
      count += 1;
      if (count % atOnce === 0) await nextTurn();
      if (!open.has(entry) || entry.cutBy !== null) continue;
      entry.settle?.();
      const why = await refusalOf(entry);
      if (why !== null) cut(entry, why);
    }
    let next = Infinity;
    for (const { cutBy, endsAt } of open) if (cutBy === null) next = Math.min(next, endsAt);
    wakeAt(next);
  }

  function endOf({ right, refusal }: Entry, used: boolean): ReturnType<typeof endOfRight> {
    const mode = refusal === null ? 'optional' : rooms.inForce().agents;
    return endOfRight(right, { mode, used }, rooms);
  }

  /** Asks once, soon after the beginning: the end may come before the first look. Most are over by then, and not asked for. */
  function learnEndOf(entry: Entry): void {
    begun.push(entry);
    if (begun.length > 1) return;
    cancelLearning = timers.after(soonMs, () => {
      const all = begun.filter((each) => open.has(each));
      begun = [];
      for (const each of all) void learnEnd(each);
    });
  }

  async function learnEnd(entry: Entry): Promise<void> {
    const end = await endOf(entry, false).catch(() => Infinity);
    entry.endsAt = Math.min(entry.endsAt, end instanceof SidekeyError ? rooms.now() : end);
    if (open.has(entry) && looking === null && entry.endsAt < wakesAt) wakeAt(entry.endsAt);
  }

  /** Why it may not stay open; null: it may, until `endsAt` at least. */
  async function refusalOf(entry: Entry): Promise<SidekeyError | null> {
    const now = rooms.now();
    const bytes = bytesOf(entry.client);
    try {
      const refused = (await entry.refusal?.(rooms.inForce().policy, now)) ?? null;
      if (refused !== null) return refused;
      const end = await endOf(entry, bytes !== entry.bytes);
      if (end instanceof SidekeyError) return end;
      entry.endsAt = end;
      entry.bytes = bytes;
      entry.judgedAt = now;
      return null;
    } catch (error) {
      const isOver = now >= entry.endsAt || now - entry.judgedAt >= unaskedMs;
      return isOver ? asFailure(error) : null;
    }
  }

  function cut(entry: Entry, why: SidekeyError): void {
    if (!open.has(entry)) return;
    entry.cutBy = why;
    rooms.log.info({ code: why.code, why: why.message }, 'a connection was cut: its right has ended');
    entry.client.destroy();
  }

  return {
    async during(connection, work) {
      const entry: Entry = {
        ...connection,
        bytes: bytesOf(connection.client),
        judgedAt: rooms.now(),
        endsAt: Infinity,
        cutBy: null,
      };
      open.add(entry);
      if (cancel === null && looking === null) wakeAt(Infinity);
      learnEndOf(entry);
      try {
        const carried = await work();
        return entry.cutBy === null ? carried : { ...carried, code: entry.cutBy.code };
      } catch (error) {
        throw entry.cutBy ?? error;
      } finally {
        open.delete(entry);
      }
    },
    recheck,
    close() {
      closed = true;
      cancel?.();
      cancelLearning?.();
    },
  };
}

/** Both ways. */
function bytesOf({ bytesRead = 0, bytesWritten = 0 }: Cuttable): number {
  return bytesRead + bytesWritten;
}

function asFailure(error: unknown): SidekeyError {
  return error instanceof SidekeyError
    ? error
    : new SidekeyError('internal', 'The right could not be judged.', { cause: error });
}
