/** Opens a connect session in a popup and reports its result. For browsers, without dependencies. */

export interface ConnectOptions {
  /**
   * `session_token` of a session that was created with this page's origin as `popup_origin`, or a function that
   * gets one after the click. If its promise is rejected, the failure has the code `unreachable`.
   */
  readonly sessionToken: string | (() => Promise<string>);
  /** Address of Sidekey: `https://sidekey.example.com`. */
  readonly baseUrl: string;
  readonly onSuccess?: ((result: ConnectResult) => void) | undefined;
  readonly onError?: ((failure: ConnectFailure) => void) | undefined;
  /** The popup closed, or the provider cut it off, before a result. Request the session from the server. */
  readonly onExit?: (() => void) | undefined;
}

export interface ConnectResult {
  readonly session: string;
  readonly grantId: string;
  /** Signed result (JWS), for the server. */
  readonly signature: string;
}

export interface ConnectFailure {
  /** Empty if the function `sessionToken` failed. */
  readonly session: string;
  readonly code: string;
  readonly detail: string;
  /** Empty if `sessionToken` failed. */
  readonly signature: string;
}

interface Page {
  readonly location: { assign(url: string): void };
}

interface Popup extends Page {
  readonly closed: boolean;
  close(): void;
}

interface Message {
  readonly origin: string;
  readonly source: unknown;
  readonly data: Readonly<Record<string, string>> | null;
}

declare const window: Page & {
  open(url: string, name: string, features: string): Popup | null;
  addEventListener(type: 'message', listener: (event: Message) => void): void;
  removeEventListener(type: 'message', listener: (event: Message) => void): void;
};

const lookEveryMs = 300;

/** Must run in the handler of a click. If the popup is blocked, this page itself opens the session. */
export function connect(options: ConnectOptions): { close(): void } {
  const { sessionToken, baseUrl, onSuccess, onError, onExit } = options;
  const base = `${baseUrl.replace(/\/+$/, '')}/connect/`;
  const { origin } = new URL(base);
  let session = '';
  const addressOf = (token: string): string => {
    [session = ''] = token.split('.');
    return base + encodeURIComponent(token);
  };
  const isLater = typeof sessionToken !== 'string';
  const url = isLater ? 'about:blank' : addressOf(sessionToken);
  const popup = window.open(url, session, 'popup,width=540,height=720');
  const isBlocked = popup === null || popup.closed;
  const page = isBlocked ? window : popup;

  let hasEnded = false;
  let closedBefore = false;
  const timer = setInterval(() => {
    // A message may still be in transit when the popup has closed.
    if (closedBefore) {
      end();
      onExit?.();
    }
    closedBefore = !isBlocked && popup.closed;
  }, lookEveryMs);
  function end(): void {
    hasEnded = true;
    clearInterval(timer);
    window.removeEventListener('message', receive);
  }
  function close(): void {
    end();
    popup?.close();
  }
  function receive({ origin: from, source, data }: Message): void {
    if (from !== origin || source !== popup) return;
    if (data?.['type'] !== 'sidekey.connect' || data['session'] !== session) return;
    close();
    const { grant_id: grantId = '', error: code = '', detail = '', signature = '' } = data;
    if (data['status'] === 'connected') onSuccess?.({ session, grantId, signature });
    else onError?.({ session, code, detail, signature });
  }
  window.addEventListener('message', receive);
  if (isLater)
    sessionToken().then(
      (token) => hasEnded || page.location.assign(addressOf(token)),
      (error: unknown) => {
        if (hasEnded) return;
        close();
        onError?.({ session, code: 'unreachable', detail: String(error), signature: '' });
      },
    );
  else if (isBlocked) page.location.assign(url);
  return { close };
}
