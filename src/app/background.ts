import { SidekeyError } from '../lib/errors.ts';

/** A consent that waits for its person after the response to its request. Never rejects. */
type BackgroundWork = (signal: AbortSignal) => Promise<void>;

/** Returns the runner of work that continues until it is done or Sidekey stops. */
export function createBackground() {
  const stopping = new AbortController();
  const underWay = new Set<Promise<void>>();
  return {
    /** Starts a task. When Sidekey stops, aborts its signal with a SidekeyError as the reason. */
    run(work: BackgroundWork): void {
      const done = work(stopping.signal).finally(() => underWay.delete(done));
      underWay.add(done);
    },
    async close(): Promise<void> {
      stopping.abort(new SidekeyError('consent_missing', 'Sidekey stopped before the person answered.'));
      await Promise.allSettled(underWay);
    },
  };
}
