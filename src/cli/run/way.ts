import type { Config } from '../../config/config.ts';
import type { HeldLease } from './held-lease.ts';

/** How a command reaches the services. */
export interface Way {
  /** What the command is told; the URL has its token. */
  readonly proxy: { readonly url: string; readonly host: string; readonly port: number };
  /** PEM of the CA that it is to trust. */
  readonly authorityPem: string;
  /** What is in force at that moment. */
  readonly config: () => Config;
  /** Null: the URL came with a token of its own, and this process makes no right. */
  readonly lease: HeldLease | null;
  /** The writer of the audit file that writes for this command alone; null: others come through the proxy too. */
  readonly node: string | null;
  /** Ends the lease first, then what serves. Idempotent. */
  close(): Promise<void>;
}
