import { randomUUID } from 'node:crypto';
import { hashToken, newSecret } from '../agents/authentication.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { AgentTokenRecord } from '../store/store.ts';

/** @throws SidekeyError `input_invalid` if the label is not valid */
export function newToken(
  agent: string,
  {
    label = 'main',
    expiresAt,
    at,
  }: { readonly label?: string | undefined; readonly expiresAt: number | null; readonly at: number },
): { readonly secret: string; readonly record: AgentTokenRecord } {
  if (label.startsWith('sidekey_')) {
    throw new SidekeyError('input_invalid', 'The label of the token is not valid.', {
      hint: 'name the purpose of the token, such as laptop; Sidekey makes the token itself',
    });
  }
  const secret = newSecret('agent');
  const record = { id: randomUUID(), agent, label, hash: hashToken(secret), createdAt: at, expiresAt };
  return { secret, record: { ...record, usedAt: null, revokedAt: null } };
}

/** Reports whether a token of an enabled agent is valid at `now`. */
export function isLive({ expiresAt, revokedAt }: AgentTokenRecord, now: number): boolean {
  return revokedAt === null && (expiresAt === null || expiresAt > now);
}
