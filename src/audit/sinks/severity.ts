import type { AuditLine } from '../event.ts';

/** How grave an event is: what was refused or failed is a warning, what says that the log was harmed an error. */
export function severityOf({ code, outcome }: AuditLine): 'info' | 'warning' | 'error' {
  if (code === 'audit_broken') return 'error';
  return code === undefined && outcome !== 'deny' && outcome !== 'failed' ? 'info' : 'warning';
}
