import type { AuditEvent, AuditLog } from '../audit/event.ts';

/** Events of the config file, told by several processes that all follow it, and each on record once. */
export interface ConfigEvents {
  /** Of this process. */
  readonly own: (event: AuditEvent) => void;
  /** Of a worker, which may be earlier or later with the same news. */
  readonly ofWorker: (event: AuditEvent) => void;
}

/** A config that only one worker ever had in force is on record too: whatever differs from the last event is. */
export function createConfigEvents(audit: Pick<AuditLog, 'note'>): ConfigEvents {
  let last: AuditEvent | null = null;
  /** Whether the last was a worker's, and this process has not told the same yet. */
  let isAhead = false;
  const isLast = ({ event, reason }: AuditEvent) => event === last?.event && reason === last.reason;

  function tell(event: AuditEvent, ahead: boolean): void {
    [last, isAhead] = [event, ahead];
    audit.note(event);
  }

  return {
    own(event) {
      if (isAhead && isLast(event)) isAhead = false;
      else tell(event, false);
    },
    ofWorker(event) {
      if (!isLast(event)) tell(event, true);
    },
  };
}
