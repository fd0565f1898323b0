import type { OpenAuditLog } from '../audit/log.ts';
import type { ApprovalQueue } from '../agents/approvals/queue.ts';
import type { Config } from '../config/config.ts';
import type { ActivityNotes } from '../grants/activity.ts';
import type { Registry } from '../grants/registry.ts';
import type { TokenSource } from '../grants/token-source.ts';
import type { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Timers } from '../lib/timers.ts';
import type { ProbePrograms } from '../operations/program-probe.ts';
import type { ProxyProbe } from '../operations/proxy-probe.ts';
import type { Quota } from '../agents/quota/quota.ts';
import type { RenewalParts } from '../operations/operation.ts';
import type { Store } from '../store/store.ts';
import type { OpenVault } from '../store/vault/open.ts';
import type { Vault } from '../store/vault/vault.ts';

/** Parts of the running proxy that the API uses. */
export interface ServiceParts {
  readonly store: Store;
  readonly vault: Vault;
  /** Source and key ring of the vault. */
  readonly keys: OpenVault;
  readonly grants: Registry;
  readonly audit: OpenAuditLog;
  readonly activity: ActivityNotes;
  readonly tokens: TokenSource;
  readonly approvals: ApprovalQueue;
  /** Counts over all processes. */
  readonly quota: Quota;
  /** Returns the config in force, after a change of the file has been read. */
  readonly config: () => Promise<Config>;
  /** Returns the guarded `fetch` in force. */
  readonly fetch: () => typeof fetch;
  /** Returns the public base address, without a trailing slash. */
  readonly url: () => string;
  readonly now: () => number;
  readonly log: Log;
  readonly timers: Timers;
  readonly env: NodeJS.ProcessEnv;
  readonly probePrograms: ProbePrograms;
  /** Facts about this proxy for operations. */
  readonly proxy: ProxyProbe;
  /** Returns the parts of a refresh with this config and this audit log. */
  readonly renewal: (own: RenewalOptions) => RenewalParts;
  /** Resolves with the address of the proxy when it listens. */
  readonly listening: Promise<{ readonly host: string; readonly port: number }>;
  /** Starts a task that never rejects. Its signal aborts with a SidekeyError when the proxy stops. */
  readonly inBackground: (work: (signal: AbortSignal) => Promise<void>) => void;
  readonly readMetrics: () => Promise<Metrics>;
  /** Resolves with the reason why requests cannot be served; null if they can. */
  readonly readiness: () => Promise<SidekeyError | null>;
}

interface RenewalOptions extends Pick<ServiceParts, 'audit'> {
  readonly config: Config;
  /** Guarded `fetch`. */
  readonly fetch: typeof fetch;
}

/** The metrics of the proxy, for Prometheus. */
export interface Metrics {
  /** Media type. */
  readonly type: string;
  readonly text: string;
}
