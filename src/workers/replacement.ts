/** When a worker that ended is replaced. */

/** A worker that served so long, in milliseconds, was well. */
const wellMs = 10_000;
const shortestMs = 250;
const longestMs = 30_000;

/** The longest wait while no other worker serves. */
export const longestAloneMs = 2_000;

/** Ends in a row of workers that did not even begin, with nobody left who serves: then there is no use in going on. */
export const mostFailedStarts = 5;

/** How the workers fare, as one number: ends in a row, each soon after its start. */
export interface Replacement {
  /** A worker has ended; answers after how many milliseconds another is started. */
  readonly ended: (servedMs: number, othersServe: boolean) => number;
}

/** The first is replaced at once; then it takes twice as long each time, as long as none serves for a while. */
export function createReplacement(): Replacement {
  let inRow = 0;
  return {
    ended(servedMs, othersServe) {
      inRow = servedMs >= wellMs ? 1 : inRow + 1;
      const longest = othersServe ? longestMs : longestAloneMs;
      return inRow === 1 ? 0 : Math.min(longest, shortestMs * 2 ** (inRow - 2));
    },
  };
}
