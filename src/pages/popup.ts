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
    const session = await call<CreatedConnectSession>('POST /v2/connect-sessions', {
      ...wanted,
      popup_origin: location.origin,
    });
    popup.location.replace(session.connect_url);
    return await grantOf(session, popup);
  } finally {
    popup.close();
    if (consentWindow.value === popup) consentWindow.value = null;
  }
}

/** Resolves with the grant that the popup reports or, after it was closed, that the service has. */
async function grantOf({ id, connect_url: url }: CreatedConnectSession, popup: Window): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const { origin } = new URL(url);
  const settle = (grant: string | undefined, reason = '') =>
    grant === undefined ? reject(new Error(reason)) : resolve(grant);
  const take = ({ origin: from, source, data }: MessageEvent<Record<string, string> | null>) => {
    if (from !== origin || source !== popup) return;
    if (data?.['type'] === 'sidekey.connect' && data['session'] === id)
      settle(data['grant_id'], data['detail']);
  };
  const look = async () => {
    if (!popup.closed) return;
    const end = await call<ConnectSession>(path`GET /v2/connect-sessions/${id}`);
    // A service may separate its page from this one: the popup then looks closed while the person is in it.
    if (end.grant_id !== undefined || end.error !== undefined || document.hasFocus())
      settle(end.grant_id, end.error?.detail ?? 'The window was closed before the service answered.');
  };
  addEventListener('message', take);
  const timer = setInterval(() => void look().catch(reject), lookEveryMs);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
    removeEventListener('message', take);
  }
}
