import type { GrantRecord } from '../store/store.ts';
import type { Grant } from './grant.ts';

/** What a seal is bound to: it opens for this grant and this revision alone. */
export function sealContext({ id, revision }: Pick<Grant, 'id' | 'revision'>): string {
  return `grant/${id}/${revision}`;
}

/** The columns that a person may see. */
export function grantOf(record: GrantRecord): Grant {
  const { sealed: _sealed, ...grant } = record;
  return Object.freeze(grant);
}
