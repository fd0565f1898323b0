import type { AuditEvent, AuditLog } from './event.ts';
import { SidekeyError } from '../errors.ts';

/** Failures that the audit file has already. */
const noted = new WeakSet<object>();

/** Whether a failure of `audited` is in the audit file, so that who meets it next does not note it again. */
export function isNoted(error: unknown): boolean {
  return typeof error === 'object' && error !== null && noted.has(error);
}

/**
 * Makes a change that is in the audit file before it happens: a change that cannot be recorded is not made. Where it
 * fails after that, a second event says so. Its outcome is `allow` unless it says another.
 *
 * @throws SidekeyError `audit_unavailable`, and what `change` throws
 */
export async function audited<T>(
  audit: Pick<AuditLog, 'append' | 'note'>,
  event: AuditEvent,
  change: () => Promise<T>,
): Promise<T> {
  await audit.append({ outcome: 'allow', ...event });
  try {
    return await change();
  } catch (error) {
    const code = error instanceof SidekeyError ? error.code : 'internal';
    audit.note({ ...event, outcome: 'failed', code });
    if (typeof error === 'object' && error !== null) noted.add(error);
    throw error;
  }
}
