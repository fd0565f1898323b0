import type { AuditConfig } from '../../config/audit-settings.ts';
import { formatDuration } from '../../config/duration.ts';
import { formatSize } from '../../config/size.ts';

/** The limits of the audit log, for people: nothing that somebody wanted to keep may go unsaid. */
export function keptText({ keepMs, keepFiles, keepBytes, keepsByDefault }: AuditConfig): string {
  const limits = [
    ...(keepMs === null ? [] : [formatDuration(keepMs)]),
    ...(keepFiles === null ? [] : [`${keepFiles} files`]),
    ...(keepBytes === null ? [] : [formatSize(keepBytes)]),
  ];
  if (limits.length === 0) return 'keeps all';
  return `keeps ${limits.join(' or ')}${keepsByDefault ? ' by default (audit.keep)' : ''}`;
}
