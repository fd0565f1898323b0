import type { StoreChanges } from './store.ts';

/** Channel on which triggers notify (see `postgresMigrations`): of a table, or of a grant as in `ofGrant`. */
export const channel = 'sidekey_changed';

const all = 'insert or update or delete';

/** Writes that are notified, besides those of grants. Frequent ones that change no decision are left out. */
export const notifiedTables: Readonly<Record<string, string>> = {
  agents: all,
  agent_tokens: 'insert or delete or update of expires_at, revoked_at',
  bindings: all,
  leases: 'insert or delete or update of expires_at, max_uses, revoked_at',
  grant_policies: all,
  questions: 'insert or delete or update of answer, stands, until',
  proposals: all,
  api_keys: 'insert or delete or update of role, scopes, "user", person, expires_at, hash',
  people: all,
};

const grants = 'grants';
/** Table of locks, which every refresh writes several times. It is always read from the database. */
const locks = 'locks';

/** Returns the notification of a change of one grant. */
export function ofGrant(id: string): string {
  return `${grants} ${id}`;
}

/** Maximum number of remembered changes: about 1 MB. Beyond it, everything is read again. */
const maxChanges = 8_192;

/** Counts changes, and remembers the last ones. */
interface ChangeLog {
  readonly count: () => number;
  /** Counts a change of a table except `locks`, or of a grant as in `ofGrant`; empty: of anything. */
  readonly add: (what: string) => void;
  /** Counts a change of anything. */
  readonly lose: () => void;
  /** See `Store.changesSince`; epochs are counts. */
  readonly since: (epoch: number) => StoreChanges;
}

/** Creates a log that has counted nothing. */
export function createChangeLog(): ChangeLog {
  let count = 0;
  /** Count after which `changes` is complete. */
  let from = 0;
  let changes: string[] = [];

  function lose(): void {
    count += 1;
    from = count;
    changes = [];
  }

  return {
    count: () => count,
    add(what) {
      if (what === '') return lose();
      if (what === locks) return;
      count += 1;
      changes.push(what);
      if (changes.length < maxChanges) return;
      changes = changes.slice(maxChanges / 2);
      from = count - changes.length;
    },
    lose,
    since(epoch) {
      if (epoch < from) return { grants: null, others: true };
      const news = new Set(changes.slice(epoch - from));
      const ids = [...news].flatMap((what) =>
        what.startsWith(ofGrant('')) ? [what.slice(grants.length + 1)] : [],
      );
      return {
        grants: news.has(grants) ? null : ids,
        others: [...news].some((what) => Object.hasOwn(notifiedTables, what)),
      };
    },
  };
}
