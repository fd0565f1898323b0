import type { UnreadableReference } from '../grants/references.ts';
import { reportContext, reportTarget } from '../store/vault/instance.ts';
import type { Vault } from '../store/vault/vault.ts';

/** Answer at the address in the config. */
export type Health =
  /** `instance`: see `instanceOf`. */
  | { readonly kind: 'serving'; readonly instance: string }
  /** Nothing listens there, or the response is late. */
  | { readonly kind: 'silent'; readonly why: string }
  /** Another program responds. */
  | { readonly kind: 'stranger' }
  /** The port is chosen at start, and unknown here. */
  | { readonly kind: 'unknown' };

/** Questions to the proxy at the address in the config. No answer rejects. */
export interface ProxyProbe {
  readonly health: () => Promise<Health>;
  /** Returns the references that the running proxy cannot read; none without such a proxy. */
  readonly unreadable: (vault: Vault) => Promise<readonly UnreadableReference[]>;
}

/** Sends a GET to the proxy, for its health or a report that it seals. Never rejects. */
type AskProxy = (target?: string) => Promise<Health & { readonly sealed?: string | undefined }>;

/** Returns the questions to a proxy. */
export function probeBy(ask: AskProxy): ProxyProbe {
  return {
    health: () => ask(),
    async unreadable(vault) {
      const health = await ask(reportTarget(vault));
      if (health.kind !== 'serving') return [];
      try {
        await vault.refresh();
        const report = vault.open(reportContext, Buffer.from(health.sealed ?? '', 'base64'));
        return JSON.parse(report.toString('utf8')) as readonly UnreadableReference[];
      } catch {
        // Another Sidekey, with another key.
        return [];
      }
    },
  };
}
