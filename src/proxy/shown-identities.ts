import type { Registry } from '../grants/registry.ts';
import type { Timers } from '../grants/timers.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import type { GrantIdentity } from '../inject/client-certificate.ts';

/** The certificates of grants that connections may have been made with. */
export interface ShownIdentities {
  /** It is about to be shown for this grant: from now on it ends when it is the grant's no more. */
  showing(ready: ReadyToken, identity: GrantIdentity): void;
  /** Looks no more. */
  close(): void;
}

/** So late a certificate that was replaced, revoked or removed is noticed at most, though nobody asks for its grant. */
const everyMs = 1_000;

/**
 * Sets no timer before a certificate is shown. No request goes out on connections of an older certificate anyway; this
 * is what has those closed that rest.
 */
export function createShownIdentities(grants: Pick<Registry, 'open'>, timers: Timers): ShownIdentities {
  const shown = new Map<GrantIdentity, ReadyToken>();
  let cancel: (() => void) | null = null;
  let closed = false;

  function wake(): void {
    if (closed || shown.size === 0 || cancel !== null) return;
    cancel = timers.after(everyMs, () => {
      cancel = null;
      void look().then(wake);
    });
  }

  async function look(): Promise<void> {
    for (const [identity, { grant, sealed }] of shown) {
      try {
        // What is opened stays one object until it is stored anew.
        const stored = await grants.open(grant.id);
        if (stored?.sealed === sealed && stored.grant.state === 'active') continue;
      } catch {
        // The store cannot be asked now, and no request gets a credential meanwhile.
        continue;
      }
      shown.delete(identity);
      identity.end();
    }
  }

  return {
    showing(ready, identity) {
      if (shown.has(identity)) return;
      shown.set(identity, ready);
      wake();
    },
    close() {
      closed = true;
      cancel?.();
      cancel = null;
    },
  };
}
