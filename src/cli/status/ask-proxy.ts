import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Config } from '../../config/config.ts';
import { type PeerOwner, peerOwnerOfCommand } from '../../lib/os.ts';
import { reachable } from '../../operations/format.ts';
import { type Health, probeBy, type ProxyProbe } from '../../operations/proxy-probe.ts';

/** Returns the questions to the proxy of a config, which another process may serve. */
export function probeOf({ proxy: { listen } }: Pick<Config, 'proxy'>): ProxyProbe {
  return probeBy((target) => askHealth(listen, target));
}

const timeoutMs = 1_000;
/** The first request to the pages loads the API. */
const pagesTimeoutMs = 10_000;

/** Sends `GET /healthz`. Never rejects. */
export async function askHealth(
  { host, port }: Config['proxy']['listen'],
  path = '/healthz',
): Promise<Health & { readonly sealed?: string | undefined }> {
  if (port === 0) return { kind: 'unknown' };
  // Most commands ask nothing.
  const { get } = await import('node:http');
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const request = get({ host: reachable(host), port, path, agent: false, signal });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    for await (const piece of response.setEncoding('utf8')) {
      text += piece;
      if (text.length > 1_000_000) break;
    }
    const [, instance, sealed] =
      /^\{"status":"ok","instance":"([0-9a-f]{16})"(?:,"sealed":"([\w+/=]+)")?\}$/.exec(text.trim()) ?? [];
    return instance === undefined ? { kind: 'stranger' } : { kind: 'serving', instance, sealed };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { kind: 'silent', why: signal.aborted ? `no answer within ${timeoutMs} ms` : (code ?? message) };
  }
}

/** Returns the owner of the program that listens at the address of the pages. Never rejects. */
export async function askOwner(
  { host, port }: Config['proxy']['listen'],
  ownerOf = peerOwnerOfCommand,
): Promise<PeerOwner> {
  const { get } = await import('node:http');
  // The connection must still be open when its owner is read.
  const options = { agent: false, headers: { connection: 'keep-alive' }, path: '/healthz' } as const;
  try {
    const request = get({
      host: reachable(host),
      port,
      signal: AbortSignal.timeout(pagesTimeoutMs),
      ...options,
    });
    const [{ socket }] = (await once(request, 'response')) as [IncomingMessage];
    return await ownerOf(socket).finally(() => socket.destroy());
  } catch {
    return 'unknown';
  }
}
