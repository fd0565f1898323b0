import { hash } from 'node:crypto';
import { SidekeyError } from '../lib/errors.ts';

/** Members that change without a person's edit. */
const moving: ReadonlySet<string> = new Set([
  'expires_in',
  'used_at',
  'refreshed_at',
  'refresh_due_at',
  'next',
  'uses',
  'active_leases',
  'live_tokens',
]);

/** Returns the weak entity tag of a response (RFC 9110, 8.8.3). Ignores members that change on their own. */
export function etagOf(value: unknown): string {
  const text =
    JSON.stringify(value, (name, member: unknown) => (moving.has(name) ? undefined : member)) ?? '';
  return `W/"${hash('sha256', text, 'base64url').slice(0, 22)}"`;
}

/**
 * Compares the `If-Match` of a change with the present tag. Accepts a weak tag, because GET sent one.
 *
 * @throws SidekeyError `precondition_failed`
 */
export function preconditionOf(wanted: string, present: string): void {
  const tags = wanted.split(',').map((tag) => tag.trim());
  if (tags.includes('*') || tags.includes(present)) return;
  throw new SidekeyError('precondition_failed');
}
