import { SidekeyError } from '../lib/errors.ts';

/** A consent that waits for its person, after the request that began it was answered. Never rejects. */
type BackgroundWork = (signal: AbortSignal) => Promise<void>;

/** Returns the place of work that goes on until it is done, or until Sidekey stops. */
export function createBackground() {
  const stopping = new AbortController();
  const underWay = new Set<Promise<void>>();
  return {
    /** Begins a work. Its signal is aborted when Sidekey stops, with a SidekeyError as the reason. */
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
