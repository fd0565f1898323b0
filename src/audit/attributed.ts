import type { Origin } from './event.ts';
import type { OpenAuditLog } from './log.ts';

/** The log, each of whose events says who made it and from where, unless it says so itself. */
export function attributed(log: OpenAuditLog, origin: Origin): OpenAuditLog {
  return {
    ...log,
    // As it is when it is asked: a writer that lost its slot goes on with another.
    get node() {
      return log.node;
    },
    append: (event) => log.append({ ...origin, ...event }),
    note: (event) => log.note({ ...origin, ...event }),
  };
}
