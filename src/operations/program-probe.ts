import type { Client } from '../clients/programs.ts';
import type { Config } from '../config/config.ts';

/** Tests of the programs of this machine. */

/**
 * Result of a test. `works`: the program reached the proxy and accepted its certificate; `untrusted`: it does
 * not trust the CA; `unproxied`: it bypassed the proxy; `unauthenticated`: it showed no token; `failed`:
 * another error; `slow`: it did not end in time.
 */
export type Verdict = 'works' | 'untrusted' | 'unproxied' | 'unauthenticated' | 'failed' | 'slow';

/** A program that was started with the settings of the proxy. */
export interface Probed {
  readonly client: Client;
  readonly library: string | null;
  /** Verdict; null: the program is not installed. */
  readonly verdict: Verdict | null;
  /** Output of a program that fails. */
  readonly said: string | null;
}

/**
 * Starts the programs of this machine with the settings of a proxy of their own.
 *
 * @param only names of clients; null: all that the config does not turn off
 */
export type ProbePrograms = (
  config: Pick<Config, 'proxy' | 'clientsOff'>,
  only: ReadonlySet<string> | null,
) => Promise<{ readonly probed: readonly Probed[]; readonly notes: readonly string[] }>;
