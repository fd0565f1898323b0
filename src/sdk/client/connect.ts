import { errorOf, SidekeyError } from './errors.ts';
import type { DeviceSession, Operations } from './operations.ts';
import { wait } from './transport.ts';

/** The person's part of a connect session, for a program without its own page. */

export type OpenBrowser = (url: string) => Promise<void>;

export interface ConnectOptions {
  readonly provider: string;
  /** Owner of the grant. */
  readonly user: string;
  readonly scopes?: readonly string[];
  /** Name of the grant; default: the name of the provider. */
  readonly name?: string;
  /**
   * True: the person types a code on another device. False: the person opens an address. Default `auto`: a
   * code if this machine has no browser, `onUrl` is absent, and the provider has a device flow (RFC 8628).
   */
  readonly device?: boolean | 'auto';
  /** Shows the address to the person. Default: prints it on standard error, and opens a browser if any. */
  readonly onUrl?: (url: string) => void | Promise<void>;
  /** Shows the code to the person; default: prints it on standard error. */
  readonly onCode?: (session: DeviceSession) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

export interface Connected {
  readonly grantId: string;
  readonly provider: string;
  readonly user: string;
}

type Sessions = Pick<Operations, 'createConnectSession' | 'createDeviceSession' | 'getConnectSession'>;

const lookEveryMs = 1_000;

/** @throws SidekeyError of the session; `session_expired` if nobody connected an account in time */
export async function connectIn(
  api: Sessions,
  { device = 'auto', onUrl, onCode = showCode, signal, ...wanted }: ConnectOptions,
  openBrowser: OpenBrowser | null,
): Promise<Connected> {
  const isByAddress = device === 'auto' ? onUrl !== undefined || openBrowser !== null : !device;
  const codes = isByAddress
    ? null
    : await api.createDeviceSession(wanted, { signal }).catch((error: unknown) => {
        if (device === 'auto' && error instanceof SidekeyError && noDeviceFlow.has(error.code)) return null;
        throw error;
      });
  const { id, connect_url: url = '' } =
    codes === null ? await api.createConnectSession(wanted, { signal }) : { id: codes.id };
  const showUrl = async () => {
    console.error(`To connect the account, open this address. It works once:\n${url}`);
    await openBrowser?.(url);
  };
  await (codes === null ? (onUrl ?? showUrl)(url) : onCode(codes));
  for (;;) {
    const session = await api.getConnectSession({ id }, { signal });
    const { status, provider, user, grant_id: grantId, error } = session;
    if (status === 'connected' && grantId !== undefined) return { grantId, provider, user };
    if (status === 'failed' && error !== undefined)
      throw errorOf(error.detail, { code: error.code, hint: 'connect again' });
    if (status !== 'pending') {
      const hint = 'connect again, and answer within 15 minutes';
      const detail = error?.detail ?? 'Nobody connected an account in time.';
      throw errorOf(detail, { code: 'session_expired', hint });
    }
    await wait(lookEveryMs, signal);
  }
}

/** Errors after which an address may work: the provider has no device flow, or none for this client. */
const noDeviceFlow = new Set(['config_invalid', 'provider_refused']);

function showCode(session: DeviceSession): void {
  const { user_code: code, verification_uri: uri, verification_uri_complete: complete } = session;
  const direct =
    complete === null ? '' : `\nOr open this address, and see that it shows the same code:\n${complete}`;
  console.error(`To connect the account, open ${uri} on any device, and type the code ${code}${direct}`);
}
