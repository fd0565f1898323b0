import { call, path } from './api.ts';

/** Consents in a popup. */

/** Body of a connect session. */
interface Wanted {
  readonly provider: string;
  readonly user: string;
  /** Name of the grant; default: that of the provider. */
  readonly name?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
}

type Result = { readonly grant: string } | { readonly error: string };

interface Session {
  readonly id: string;
  readonly connect_url: string;
}

const lookEveryMs = 500;

/**
 * Lets the person consent in a popup. Must run in the handler of a click. Returns the ID of the grant, or a
 * sentence that says why there is none.
 *
 * @throws ApiError if the session cannot begin
 */
export async function connectInPopup(wanted: Wanted): Promise<Result> {
  // Browsers allow a popup only before the first wait of the handler.
  const popup = open('about:blank', '_blank', 'popup,width=540,height=720');
  if (popup === null)
    return { error: 'The browser blocked the popup. Allow popups for this page, then try again.' };
  try {
    const body = { ...wanted, popup_origin: location.origin };
    const session = await call<Session>('POST /v2/connect-sessions', body);
    popup.location.replace(session.connect_url);
    return await endOf(session, popup);
  } finally {
    popup.close();
  }
}

/** Resolves with the result that the popup reports or, after it was closed, that the service has. */
async function endOf({ id, connect_url: url }: Session, popup: Window): Promise<Result> {
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  const { origin } = new URL(url);
  const take = ({ origin: from, source, data }: MessageEvent<Record<string, string> | null>) => {
    if (from !== origin || source !== popup) return;
    if (data?.['type'] !== 'sidekey.connect' || data['session'] !== id) return;
    const { grant_id: grant, detail: error = '' } = data;
    resolve(grant === undefined ? { error } : { grant });
  };
  const look = async () => {
    if (!popup.closed) return;
    const end = await call<{ grant_id?: string; error?: { detail: string } }>(
      path`GET /v2/connect-sessions/${id}`,
    );
    if (end.grant_id !== undefined) resolve({ grant: end.grant_id });
    else if (end.error !== undefined) resolve({ error: end.error.detail });
    // A service may separate its page from this one: the popup then looks closed while the person is in it.
    else if (document.hasFocus()) resolve({ error: 'The window was closed before the service answered.' });
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
