import { isIP } from 'node:net';

/** The address to connect to for one that the proxy listens on: one that stands for all of them is none. */
export function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}

/** What a client on this machine sets as its proxy. A port that is chosen at the start is not known before. */
export function proxyUrl(
  { host, port }: { readonly host: string; readonly port: number },
  userInfo?: string,
): string {
  const reached = reachable(host);
  const name = isIP(reached) === 6 ? `[${reached}]` : reached;
  return `http://${userInfo === undefined ? '' : `${userInfo}@`}${name}:${port === 0 ? 'PORT' : port}`;
}
