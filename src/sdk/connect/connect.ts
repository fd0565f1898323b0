/** Opens a connect session in a popup and reports its result. For browsers, without dependencies. */

export interface ConnectOptions {
  /** `session_token` of a session that was created with this page's origin as `popup_origin`. */
  readonly sessionToken: string;
  /** Address of Sidekey: `https://sidekey.example.com`. */
  readonly baseUrl: string;
  readonly onSuccess?: (result: ConnectResult) => void;
  readonly onError?: (failure: ConnectFailure) => void;
  /** The popup closed, or the provider cut it off, before a result. Request the session from the server. */
  readonly onExit?: () => void;
}

export interface ConnectResult {
  readonly session: string;
  readonly grantId: string;
  /** Signed result (JWS), for the server. */
  readonly signature: string;
}

export interface ConnectFailure {
  readonly session: string;
  readonly code: string;
  readonly detail: string;
  readonly signature: string;
}

interface Popup {
  readonly closed: boolean;
  close(): void;
}

interface Message {
  readonly origin: string;
  readonly source: unknown;
  readonly data: Readonly<Record<string, string>> | null;
}

declare const window: {
  open(url: string, name: string, features: string): Popup | null;
  readonly location: { assign(url: string): void };
  addEventListener(type: 'message', listener: (event: Message) => void): void;
  removeEventListener(type: 'message', listener: (event: Message) => void): void;
};

const lookEveryMs = 300;

/** Must run in the handler of a click. If the popup is blocked, this page itself opens the session. */
export function connect(options: ConnectOptions): { close(): void } {
  const { sessionToken, baseUrl, onSuccess, onError, onExit } = options;
  const url = `${baseUrl.replace(/\/+$/, '')}/connect/${encodeURIComponent(sessionToken)}`;
  const { origin } = new URL(url);
  const [session = ''] = sessionToken.split('.');
  const popup = window.open(url, session, 'popup,width=540,height=720');
  if (popup === null || popup.closed) {
    window.location.assign(url);
    return { close() {} };
  }

  let closedBefore = false;
  const timer = setInterval(() => {
    // A message may still be in transit when the popup has closed.
    if (closedBefore) {
      end();
      onExit?.();
    }
    closedBefore = popup.closed;
  }, lookEveryMs);
  function end(): void {
    clearInterval(timer);
    window.removeEventListener('message', receive);
  }
  function receive({ origin: from, source, data }: Message): void {
    if (from !== origin || source !== popup) return;
    if (data?.['type'] !== 'sidekey.connect' || data['session'] !== session) return;
    end();
    popup?.close();
    const { grant_id: grantId = '', error: code = '', detail = '', signature = '' } = data;
    if (data['status'] === 'connected') onSuccess?.({ session, grantId, signature });
    else onError?.({ session, code, detail, signature });
  }
  window.addEventListener('message', receive);
  return {
    close() {
      end();
      popup.close();
    },
  };
}
