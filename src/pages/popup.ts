import { signal } from '@preact/signals';
import { call, path } from './api.ts';
import type { ConnectSession, CreatedConnectSession } from '../sdk/client/operations.ts';

/** Body of a connect session. */
interface Wanted {
  readonly provider: string;
  readonly user: string;
  /** Name of the grant; default: that of the provider. */
  readonly name?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
}

/** The window in which the person consents now; null: none. */
export const consentWindow = signal<Window | null>(null);

/** Milliseconds between two looks at a session. */
const lookEveryMs = 500;

/**
 * Lets the person consent in a popup. Must run in the handler of a click. `before` runs before the session
 * begins. Returns the ID of the grant.
 *
 * @throws Error if there is no grant, with the reason as a sentence
 */
export async function connectInPopup(wanted: Wanted, before?: () => Promise<unknown>): Promise<string> {
  // Browsers allow a popup only before the first wait of the handler.
  const popup = open('about:blank', '_blank', 'popup,width=540,height=720');
  if (popup === null)
    throw new Error('The browser blocked the popup. Allow popups for this page, then try again.');
  consentWindow.value = popup;
  try {
    await before?.();
    const { id, connect_url: url } = await call<CreatedConnectSession>('POST /v2/connect-sessions', wanted);
    popup.location.replace(url);
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
      // A service may separate its page from this one: the popup then looks closed while the person is in it.
      const isLeft = popup.closed && document.hasFocus();
      const end = await call<ConnectSession>(path`GET /v2/connect-sessions/${id}`);
      if (end.grant_id !== undefined) return end.grant_id;
      if (end.status !== 'pending' || isLeft)
        throw new Error(end.error?.detail ?? 'The window was closed before the service answered.');
    }
  } finally {
    popup.close();
    consentWindow.value = null;
  }
}
