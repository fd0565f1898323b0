import type { AuditEvent, AuditLog } from '../audit/event.ts';
import { SidekeyError } from '../errors.ts';

/**
 * Makes a change that is in the audit file before it happens: a change that cannot be recorded is not made. Where it
 * fails after that, a second event says so.
 *
 * @throws SidekeyError `audit_unavailable`, and what `change` throws
 */
export async function audited<T>(audit: AuditLog, event: AuditEvent, change: () => Promise<T>): Promise<T> {
  await audit.append({ ...event, outcome: 'allow' });
  try {
    return await change();
  } catch (error) {
    const code = error instanceof SidekeyError ? error.code : 'internal';
    audit.note({ ...event, outcome: 'failed', code });
    throw error;
  }
}
