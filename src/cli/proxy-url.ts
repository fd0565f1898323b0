import { isIP } from 'node:net';

/**
 * What a client on this machine sets as its proxy. An address that stands for all of them is none to connect to, and
 * a port that is chosen at the start is not known before.
 */
export function proxyUrl(
  { host, port }: { readonly host: string; readonly port: number },
  userInfo?: string,
): string {
  const reached = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  const name = isIP(reached) === 6 ? `[${reached}]` : reached;
  return `http://${userInfo === undefined ? '' : `${userInfo}@`}${name}:${port === 0 ? 'PORT' : port}`;
}
