import type { ChangedRight, GrantNames, StoreChanges } from './store.ts';

/** Channel on which triggers notify (see `postgresMigrations`): of a table, or by the functions `of…`. */
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

/** Begins the notification of the names by which a grant is found now. */
export const namesPrefix = 'grant_names ';

const rights = 'rights';

/** Returns the notification of a change of a right; without one, of any right. */
export function ofRight(kind?: ChangedRight['kind'], key = ''): string {
  return kind === undefined ? rights : `${rights} ${kind} ${key}`;
}

/** Maximum number of remembered changes: about 1 MB. Beyond it, everything is read again. */
const maxChanges = 8_192;

/** Counts changes, and remembers the last ones. */
export interface ChangeLog {
  /** Number of changes. A value, because each request reads it. */
  readonly count: number;
  /** Counts a change of a table except `locks`, or a notification; empty: of anything. */
  readonly add: (what: string) => void;
  /** Counts a write of a grant with these names; null: it was removed. */
  readonly addGrant: (id: string, names: GrantNames | null) => void;
  /** Counts a change of anything. */
  readonly lose: () => void;
  /** See `Store.changesSince`; epochs are counts. */
  readonly since: (epoch: number) => StoreChanges;
}

/** Creates a log that has counted nothing. */
export function createChangeLog(): ChangeLog {
  /** Count after which `changes` is complete. */
  let from = 0;
  let changes: string[] = [];

  function lose(): void {
    log.count += 1;
    from = log.count;
    changes = [];
  }

  function add(what: string): void {
    if (what === '') return lose();
    if (what === locks) return;
    log.count += 1;
    changes.push(what);
    if (changes.length < maxChanges) return;
    changes = changes.slice(maxChanges / 2);
    from = log.count - changes.length;
  }

  const log = {
    count: 0,
    add,
    addGrant(id: string, names: GrantNames | null) {
      add(ofGrant(id));
      // Names contain no blanks.
      if (names !== null) add(`${namesPrefix}${names.name} ${names.user} ${names.provider}`);
    },
    lose,
    since(epoch: number): StoreChanges {
      if (epoch < from) return { grants: null, names: [], rights: null, others: true };
      const news = new Set(changes.slice(epoch - from));
      const ids: string[] = [];
      const names: GrantNames[] = [];
      const changed: ChangedRight[] = [];
      for (const what of news) {
        const [kind, first = '', user = '', provider = ''] = what.split(' ');
        if (kind === grants && first !== '') ids.push(first);
        if (kind === rights && (first === 'agent' || first === 'lease'))
          changed.push({ kind: first, key: user });
        if (what.startsWith(namesPrefix)) names.push({ name: first, user, provider });
      }
      return {
        grants: news.has(grants) ? null : ids,
        names,
        rights: news.has(rights) ? null : changed,
        others: [...news].some((what) => Object.hasOwn(notifiedTables, what)),
      };
    },
  };
  return log;
}

/** Returns a function that reports the tables of each statement, or of each transaction when it commits. */
export function writeNotes(wrote: (tables: readonly string[]) => void): (statement: string) => void {
  let inside: string[] | null = null;
  return (statement) => {
    if (statement.startsWith('begin')) inside = [];
    else if (statement === 'commit' || statement === 'rollback') {
      if (statement === 'commit') wrote(inside ?? []);
      inside = null;
    } else {
      const tables = writtenBy(statement);
      if (inside !== null) inside.push(...tables);
      // `sqlGrants` reports its writes of single grants, because it has their ids.
      else if (tables.length > 0 && tables[0] !== grants) wrote(tables);
    }
  };
}

function writtenBy(statement: string): readonly string[] {
  // `plan` and `markFileless` change nothing that a process keeps.
  if (/^update "grants" set "(due_at|fileless_in)"/.test(statement)) return [];
  const [, what, table] = /^(insert into|update|delete from) "(\w+)"/.exec(statement) ?? [];
  if (table === undefined) return [];
  // The grants of a lease are removed with the lease, and it with its agent.
  return what === 'delete from' && (table === 'agents' || table === 'leases') ? [table, grants] : [table];
}
