import { randomBytes, randomUUID } from 'node:crypto';
import { SidekeyError } from '../../errors.ts';
import { hashToken } from '../../proxy/agent.ts';
import type { AgentTokenRecord } from '../../store/rights.ts';
import { checkName } from '../names.ts';

/** A new token, to be shown once, and what the store keeps of it. */
export interface NewToken {
  readonly secret: string;
  readonly record: AgentTokenRecord;
}

/** What the tokens of an agent are called where nothing is said. */
export const usualTokenLabel = 'main';

/**
 * 256 random bits: what the store keeps of it, a plain hash, cannot be tried out. The prefix is for secret scanners.
 * @param purpose whose it is: an agent's own, or a lease's
 */
export function newSecret(purpose: 'agent' | 'lease'): string {
  return `sidekey_${purpose}_${randomBytes(32).toString('base64url')}`;
}

/** @throws SidekeyError `input_invalid` where the label cannot be one */
export function newToken(
  agent: string,
  {
    label,
    expiresAt,
    at,
  }: { readonly label: string; readonly expiresAt: number | null; readonly at: number },
): NewToken {
  checkName('label of the token', label);
  if (label.startsWith('sidekey_')) {
    throw new SidekeyError('input_invalid', 'The label of the token is not valid.', {
      hint: 'say what the token is for, such as laptop; the token itself is made here',
    });
  }
  const secret = newSecret('agent');
  const record: AgentTokenRecord = {
    id: randomUUID(),
    agent,
    label,
    hash: hashToken(secret),
    createdAt: at,
    expiresAt,
    usedAt: null,
    revokedAt: null,
  };
  return { secret, record };
}
