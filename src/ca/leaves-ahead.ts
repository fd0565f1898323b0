import type { LeafCache } from './leaf-cache.ts';

/** Leaves that are made before anybody asks for them. */
export interface LeavesAhead {
  /** From now on these hosts have leaves, and no others. The first come first. */
  prepare(hosts: Iterable<string>): void;
  /** Makes no more. Idempotent. */
  close(): void;
}

/** What leaves are made ahead with. */
export interface LeavesAheadOptions {
  readonly leaves: Pick<LeafCache, 'prepare' | 'capacity'>;
  /** Runs a function once, when what is due now has been done, unless the answer is called before. */
  readonly soon: (run: () => void) => () => void;
  /** Runs a function once, after so many milliseconds, unless the answer is called before. */
  readonly later: (ms: number, run: () => void) => () => void;
}

/** How often it is looked which leaves are due. */
const lookMs = 3_600_000;

/**
 * Makes nothing yet. One leaf at a time, and in between the process does what else is due: a leaf takes less than a
 * millisecond, and no exchange waits for more than one. A host for which there can be no leaf is left out: who asks for
 * it is told why.
 */
export function createLeavesAhead({ leaves, soon, later }: LeavesAheadOptions): LeavesAhead {
  let wanted: readonly string[] = [];
  let isClosed = false;
  /** Calls off what is scheduled. */
  let cancel: (() => void) | null = null;

  function look(): void {
    let at = 0;
    const next = (): void => {
      // Those that are ready cost nothing.
      for (; at < wanted.length; at += 1) {
        if (!made(wanted[at]!)) continue;
        at += 1;
        cancel = soon(next);
        return;
      }
      cancel = later(lookMs, look);
    };
    cancel = soon(next);
  }

  function made(host: string): boolean {
    try {
      // So that none is due before the look after the next one.
      return leaves.prepare(host, 2 * lookMs);
    } catch {
      return false;
    }
  }

  return {
    prepare(hosts) {
      if (isClosed) return;
      cancel?.();
      // The hosts that wildcards let in need room too.
      wanted = [...new Set(hosts)].slice(0, Math.floor(leaves.capacity / 2));
      if (wanted.length > 0) look();
    },
    close() {
      isClosed = true;
      cancel?.();
    },
  };
}
