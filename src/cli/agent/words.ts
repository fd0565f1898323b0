import type { AgentTokenRecord } from '../../store/rights.ts';
import { relativeTime } from '../time.ts';

/** Whether a token of an agent that is enabled is good at `now`. */
export function isLive({ expiresAt, revokedAt }: AgentTokenRecord, now: number): boolean {
  return revokedAt === null && (expiresAt === null || expiresAt > now);
}

/** `no end`, `in 3 d`, `ended 2 h ago`, `revoked 2 h ago`. */
export function tokenEnd({ expiresAt, revokedAt }: AgentTokenRecord, now: number): string {
  if (revokedAt !== null) return `revoked ${relativeTime(revokedAt, now)}`;
  if (expiresAt === null) return 'no end';
  return `${expiresAt > now ? '' : 'ended '}${relativeTime(expiresAt, now)}`;
}

/** The latest of several last uses; null: none was ever used. */
export function lastUseOf(used: readonly { readonly usedAt: number | null }[]): number | null {
  const times = used.flatMap(({ usedAt }) => usedAt ?? []);
  return times.length === 0 ? null : Math.max(...times);
}
