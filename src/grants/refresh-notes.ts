/** What came of refreshes, told twice: to the audit file, and to the activity of the grant, where people look. */
import type { AuditEvent } from '../audit/event.ts';
import type { FailureCode } from '../errors.ts';
import type { ActivityNotes } from './activity.ts';
import type { Grant } from './grant.ts';

/** `begun`: when the refresh began, in milliseconds since the epoch. Reasons are sentences without a secret. */
export interface RefreshNotes {
  /** `purpose`: what the refresh token was used for, where not for the grant's own token. */
  refreshed(grant: Grant, begun: number, purpose?: string): void;
  /** The grant is as it was. */
  failed(grant: Grant, begun: number, reason: string, code?: FailureCode): void;
  /** The grant needs a new consent now. */
  condemned(grant: Grant, begun: number, reason: string): void;
}

/** What notes are made with. */
export interface RefreshNotesParts {
  readonly audit: { note(event: AuditEvent): void };
  readonly activity: Pick<ActivityNotes, 'refreshed' | 'failed'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Keeps nothing by itself. */
export function createRefreshNotes({ audit, activity, now }: RefreshNotesParts): RefreshNotes {
  function note(grant: Grant, begun: number, event: AuditEvent): void {
    audit.note(grantEvent(grant, { ...event, duration_ms: now() - begun }));
  }
  return {
    refreshed(grant, begun, purpose) {
      activity.refreshed(grant.id);
      note(grant, begun, { event: 'grant.refreshed', outcome: 'ok', reason: purpose });
    },
    failed(grant, begun, reason, code = 'refresh_failed') {
      activity.failed(grant.id, reason);
      note(grant, begun, { event: 'grant.refresh_failed', outcome: 'failed', code, reason });
    },
    condemned(grant, begun, reason) {
      activity.failed(grant.id, reason);
      const code = 'reauth_required';
      note(grant, begun, { event: 'grant.reauth_required', outcome: 'failed', code, reason });
    },
  };
}

/** An event about a grant, with what every such event says. */
export function grantEvent(grant: Grant, event: AuditEvent): AuditEvent {
  return { ...event, grant: grant.id, user: grant.user, provider: grant.provider };
}
