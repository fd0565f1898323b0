import type { GrantRecord } from '../store/store.ts';
import type { Grant } from './grant.ts';

/**
 * What a seal is bound to: it opens for this grant and this revision alone, and under the labels that decide who may
 * use it and where its refresh token is sent.
 */
export function sealContext(grant: Pick<Grant, 'id' | 'revision' | 'name' | 'user' | 'provider'>): string {
  const { id, revision, name, user, provider } = grant;
  return `grant/${id}/${revision}/${name}/${user}/${provider}`;
}

/** The columns that a person may see. */
export function grantOf(record: GrantRecord): Grant {
  const { sealed: _sealed, ...grant } = record;
  return Object.freeze(grant);
}
