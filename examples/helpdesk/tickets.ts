import type { SqliteDatabase } from './database.ts';
import { seedTickets } from './seed.ts';

/** The teams that work on tickets. */
export const teams = ['it', 'facilities', 'people'] as const;
/** Where a ticket stands. */
export const statuses = ['open', 'pending', 'solved'] as const;
/** How much it hurts. */
export const priorities = ['low', 'normal', 'high', 'urgent'] as const;

/** One request for help, as the API shows it. */
export interface Ticket {
  readonly id: number;
  readonly title: string;
  readonly description: string;
  readonly team: (typeof teams)[number];
  readonly status: (typeof statuses)[number];
  readonly priority: (typeof priorities)[number];
  /** Short name of the person who works on it; null: nobody yet. */
  readonly assignee: string | null;
  /** Short name of the person, or id of the client, that made it. */
  readonly reporter: string;
  /** ISO 8601, UTC. */
  readonly created_at: string;
  readonly updated_at: string;
}

/** What a new ticket says of itself. */
export type NewTicket = Pick<Ticket, 'title' | 'description' | 'team' | 'priority' | 'assignee' | 'reporter'>;

type Changeable = 'title' | 'description' | 'team' | 'status' | 'priority' | 'assignee';
/** What a change may touch; what is left out stays. */
export type TicketChange = { readonly [Field in Changeable]?: Ticket[Field] | undefined };
/** All that are given must match. */
export type TicketFilter = { readonly [Field in 'assignee' | 'status' | 'team']?: Ticket[Field] | undefined };

/** The tickets. */
export interface Tickets {
  /** Newest last. */
  list(filter: TicketFilter): readonly Ticket[];
  get(id: number): Ticket | null;
  create(ticket: NewTicket): Ticket;
  /** Null where there is no such ticket. */
  change(id: number, change: TicketChange): Ticket | null;
}

const quoted = (values: readonly string[]): string => values.map((value) => `'${value}'`).join(', ');

const schema = `
  CREATE TABLE IF NOT EXISTS tickets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    team TEXT NOT NULL CHECK (team IN (${quoted(teams)})),
    status TEXT NOT NULL CHECK (status IN (${quoted(statuses)})),
    priority TEXT NOT NULL CHECK (priority IN (${quoted(priorities)})),
    assignee TEXT,
    reporter TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
  );
`;

const changeable: readonly Changeable[] = ['title', 'description', 'team', 'status', 'priority', 'assignee'];

/**
 * The tickets in this database; a database without any gets the sample's twelve. `now` is in milliseconds.
 */
export function openTickets(database: SqliteDatabase, now: () => number): Tickets {
  database.exec(schema);
  const timestamp = (): string => new Date(now()).toISOString();
  const insert = database.prepare(
    `INSERT INTO tickets (title, description, team, status, priority, assignee, reporter, created_at, updated_at)
     VALUES (:title, :description, :team, :status, :priority, :assignee, :reporter, :created_at, :updated_at)`,
  );
  const select = database.prepare(`SELECT * FROM tickets WHERE id = ?`);

  const get = (id: number): Ticket | null => (select.get(id) as Ticket | undefined) ?? null;

  database.exec('BEGIN IMMEDIATE');
  const { total } = database.prepare(`SELECT count(*) AS total FROM tickets`).get()!;
  if (total === 0) for (const ticket of seedTickets) insert.run({ ...ticket });
  database.exec('COMMIT');

  return {
    list(filter) {
      const given = Object.entries(filter).filter(
        (each): each is [string, string | null] => each[1] !== undefined,
      );
      // Column names come from the type of the filter, never from the request.
      const conditions = given.map(([column]) => `${column} = ?`).join(' AND ') || 'TRUE';
      const values = given.map(([, value]) => value);
      const matching = database.prepare(`SELECT * FROM tickets WHERE ${conditions} ORDER BY id`);
      return matching.all(...values) as unknown as readonly Ticket[];
    },
    get,
    create(ticket) {
      const at = timestamp();
      const { lastInsertRowid } = insert.run({ ...ticket, status: 'open', created_at: at, updated_at: at });
      return get(Number(lastInsertRowid))!;
    },
    change(id, change) {
      const fields = changeable.filter((field) => change[field] !== undefined);
      const assignments = [...fields, 'updated_at'].map((field) => `${field} = :${field}`).join(', ');
      const update = database.prepare(`UPDATE tickets SET ${assignments} WHERE id = :id`);
      const values = Object.fromEntries(fields.map((field) => [field, change[field] ?? null]));
      const { changes } = update.run({ ...values, id, updated_at: timestamp() });
      return changes === 0 ? null : get(id);
    },
  };
}
