import type { Authority } from './authority.ts';

/**
 * The host by which callers reach the proxy itself, through itself. `internal` is kept for private use (ICANN board
 * resolution 2024.07.29.06), so nobody else has the name. No entry of the domain map may be about it, nobody looks it up,
 * and no request for it is forwarded.
 */
export const ownHost = 'sidekey.internal';

/** Whether a request is for the proxy itself, on whatever port. */
export function isOwn({ host }: Pick<Authority, 'host'>): boolean {
  return host === ownHost;
}
