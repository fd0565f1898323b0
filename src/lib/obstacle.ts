import type { Hint } from './hint.ts';

/** Reason why an intact file cannot be used, and the next step. */
export interface Obstacle {
  readonly why: string;
  readonly hint: Hint;
}

const tooManyFiles = {
  why: 'too many files are open',
  hint: 'raise the limit of open files (ulimit -n, or LimitNOFILE of a service), then start Sidekey again',
};

/** States of the machine, by the code of the system. No permission and no path of the user causes these. */
export const obstacles = {
  ENOSPC: { why: 'the disk is full', hint: 'free space on its disk, then try again' },
  EDQUOT: {
    why: 'the quota of the disk is used up',
    hint: 'free space or raise the quota, then try again',
  },
  EROFS: {
    why: 'its file system is read-only',
    hint: 'mount it writable again (an error of the disk can make it read-only), then try again',
  },
  EIO: {
    why: 'the disk reports an error',
    hint: 'look for errors of the disk in the log of the system, then try again',
  },
  EMFILE: tooManyFiles,
  ENFILE: tooManyFiles,
} as const satisfies Readonly<Record<string, Obstacle>>;

/** Returns the state of the machine that a system error reports; undefined for other errors. */
export function obstacleOf(error: unknown): Obstacle | undefined {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return (obstacles as Readonly<Partial<Record<string, Obstacle>>>)[code];
}
