import { closeSync, constants as files, openSync } from 'node:fs';
import { constants } from 'node:os';

/** The signals of a process that stands in for another one. */
export interface Signals {
  /** What wants this process to end and has come before there was anybody to pass it to. */
  readonly ended: NodeJS.Signals | null;
  /** Gives signals that come from now on to a command; null: it has ended. */
  passTo(receive: ((signal: NodeJS.Signals) => void) | null): void;
}

/** The terminal gives these to all of its processes at once. */
const ofTheTerminal = ['SIGINT', 'SIGQUIT'] as const;
const ending = ['SIGTERM', 'SIGHUP'] as const;
/** Whoever sends one of these means the command. It may have it from the terminal already: a second one does no harm. */
const others = ['SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT'] as const;

/** Whoever passes signals on may do so a moment after the terminal: npm does. */
const sameSignalMs = 500;

/**
 * Takes the signals over. Before there is a command, those that end a process are remembered; while it runs, all go to
 * it, but for those that it has from the terminal anyway; after it, they are held for a moment, in which this process
 * ends by itself.
 */
export function takeSignals(now: () => number): Signals {
  const isGivenByTerminal = hasTerminal();
  let receive: ((signal: NodeJS.Signals) => void) | null = null;
  let ended: NodeJS.Signals | null = null;
  let over: number | null = null;

  function end(signal: NodeJS.Signals, isGiven: boolean): void {
    if (receive !== null) {
      if (!isGiven) receive(signal);
    } else if (over === null) ended ??= signal;
    else if (now() - over > sameSignalMs) process.exit(128 + constants.signals[signal]);
  }

  for (const signal of ofTheTerminal) process.on(signal, () => end(signal, isGivenByTerminal));
  for (const signal of ending) process.on(signal, () => end(signal, false));
  for (const signal of others) process.on(signal, () => receive?.(signal));
  return {
    get ended() {
      return ended;
    },
    passTo(next) {
      receive = next;
      if (next === null) over = now();
    },
  };
}

/** Whether this process has a terminal that could send it signals. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', files.O_RDONLY | files.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}
