import type { Operations } from './operations.ts';
import { SidekeyError, wait } from './transport.ts';

/** The person's part of a connect session, for a program without a page of its own. */

export interface ConnectOptions {
  readonly provider: string;
  /** Owner of the grant. */
  readonly user: string;
  readonly scopes?: readonly string[];
  /** Name of the grant; default: that of the provider. */
  readonly name?: string;
  /** Shows the address to the person; default: prints it on standard error, and opens a browser if there is one. */
  readonly onUrl?: (url: string) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

export interface Connected {
  readonly grantId: string;
  readonly provider: string;
  readonly user: string;
}

const lookEveryMs = 1_000;

/** @throws SidekeyError of the session; `session_expired` if nobody connected an account in time */
export async function connectIn(
  api: Pick<Operations, 'createConnectSession' | 'getConnectSession'>,
  { onUrl = show, signal, ...wanted }: ConnectOptions,
): Promise<Connected> {
  const { id, connect_url: url } = await api.createConnectSession(wanted, { signal });
  await onUrl(url);
  for (;;) {
    const session = await api.getConnectSession({ id }, { signal });
    const { status, provider, user, grant_id: grantId, error } = session;
    if (status === 'connected' && grantId !== undefined) return { grantId, provider, user };
    if (error !== undefined)
      throw new SidekeyError(error.detail, { code: error.code, hint: 'connect again' });
    if (status !== 'pending') {
      const hint = 'connect again, and open the address within 15 minutes';
      throw new SidekeyError('Nobody connected an account in time.', { code: 'session_expired', hint });
    }
    await wait(lookEveryMs, signal);
  }
}

/** Prints an address, and opens a browser if there is one. */
async function show(url: string): Promise<void> {
  console.error(`To connect the account, open this address. It works once:\n${url}`);
  if (globalThis.process?.versions?.node === undefined) return;
  const { openBrowser } = await import('./open-browser.ts');
  await openBrowser(url);
}
