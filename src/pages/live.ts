import { signal } from '@preact/signals';

/** Requests as rows, from lines of the audit log. Knows no document, so tests run it in Node. */

type Fields<Name extends string, Value> = Readonly<Partial<Record<Name, Value>>>;

/**
 * A line of the audit log: the fields that pages show. `credential` is a fingerprint, `foreign` the names of
 * credentials that the client sent, `leaks` the number of places where an answer contained the credential.
 */
export interface Line
  extends
    Fields<'agent' | 'approval' | 'by' | 'client' | 'code' | 'credential' | 'exchange' | 'foreign', string>,
    Fields<'grant' | 'host' | 'lease' | 'method' | 'node' | 'outcome' | 'path' | 'provider', string>,
    Fields<'reason' | 'subject' | 'user', string>,
    Fields<'bytes_in' | 'bytes_out' | 'duration_ms' | 'leaks' | 'port' | 'seq' | 'status', number> {
  readonly time: string;
  readonly event: string;
}

/** Returns a request as `GET api.github.com/user`; the host or service of an event that is no request. */
export function requestOf({ method, host = '', path = '', provider = '' }: Partial<Line>): string {
  return method === undefined ? host || provider : `${method} ${host}${path}`;
}

export function durationText(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** A request from its first line to its end, or an event that belongs to no request. */
export interface Row extends Omit<Line, 'event' | 'outcome' | 'duration_ms'> {
  /** `running`, `waiting` for a person, `ok`, `failed`, `aborted`, `denied`; `note`: no request. */
  readonly state: string;
  /** Name of the event of a note. */
  readonly event: string;
  /** Milliseconds until the end, without those for a person; undefined: not ended. */
  readonly took?: number | undefined;
  /** Milliseconds that the request waited for a person. */
  readonly waited: number;
  /** True if the token was refused and refreshed. */
  readonly isRepeated: boolean;
}

type Draft = { -readonly [K in keyof Row]: Row[K] } & { askedAt: number | null };

/** Fields that a row copies from its lines. Later lines win. */
const copied = ['agent', 'lease', 'host', 'method', 'path', 'grant', 'status', 'code', 'reason'] as const;

/** Events that end a request. */
const ends = new Set(['outcome', 'tunnel', 'denied', 'token.answered', 'discovery']);
const steps = new Set([...ends, 'access', 'approval.asked', 'approval.allowed', 'approval.denied']);
/** Events of a request that say nothing about its state. */
const silent = new Set(
  'credential.added policy.reported placeholder.passed leak.limited token.read'.split(' '),
);

/** Conditions of rows; an empty text is none. */
export interface RowFilter {
  readonly agent?: string;
  readonly host?: string;
  readonly grant?: string;
  readonly state?: string;
  /** Part of what a row shows, in any case. */
  readonly text?: string;
  /** Includes events that belong to no request. */
  readonly notes?: boolean;
}

/** Returns the value of a row that a filter compares. The host of an event may have a port. */
export function comparedOf(row: Row, name: 'agent' | 'host' | 'grant' | 'state'): string | undefined {
  return name === 'host' ? row.host?.replace(/^([^:]+|\[.*\]):\d+$/, '$1') : row[name];
}

/** The newest requests and events. */
export class LiveRows {
  readonly #capacity: number;
  readonly #rows: Draft[] = [];
  readonly #byExchange = new Map<string, Draft>();
  /** Numbers of requests that have begun, and of refusals, since the first line. */
  requests = 0;
  refused = 0;
  /** Advances when new lines are to be shown. */
  readonly version = signal(0);

  constructor(capacity = 5_000) {
    this.#capacity = capacity;
  }

  take(line: Line): void {
    const { event, exchange = '', outcome = 'ok' } = line;
    if (silent.has(event)) return;
    // Callers that are unknown, and malformed requests, are refused before they have an exchange.
    const isStep = exchange === '' ? event === 'denied' : steps.has(event);
    const row = (isStep ? this.#byExchange.get(exchange) : undefined) ?? this.#add(line, isStep);
    for (const name of copied)
      if (line[name] !== undefined && (name !== 'reason' || !event.startsWith('approval.')))
        Object.assign(row, { [name]: line[name] });
    if (!isStep) return;
    const at = Date.parse(line.time);
    if (event === 'access') row.isRepeated ||= row.event === 'access';
    row.event = event;
    if (event === 'approval.asked') {
      row.askedAt = at;
      row.state = 'waiting';
      return;
    }
    if (row.askedAt !== null) row.waited += Math.max(0, at - row.askedAt);
    row.askedAt = null;
    row.state = !ends.has(event) ? 'running' : event === 'denied' ? 'denied' : outcome;
    if (event === 'denied') this.refused += 1;
    if (ends.has(event) && line.duration_ms !== undefined)
      row.took = Math.max(0, line.duration_ms - row.waited);
  }

  /** Returns the rows that meet all conditions, the newest first. */
  rows({ text = '', notes = false, ...exact }: RowFilter = {}): readonly Row[] {
    const part = text.toLowerCase();
    const wanted = Object.entries(exact).filter(([, value]) => value !== '') as ['host', string][];
    const fits = (row: Row) =>
      (notes || row.state !== 'note') &&
      wanted.every(([name, value]) => comparedOf(row, name) === value) &&
      (part === '' ||
        [row.agent, requestOf(row), row.status, row.code, row.event].join(' ').toLowerCase().includes(part));
    return this.#rows.filter(fits).slice(-this.#capacity).toReversed();
  }

  clear(): void {
    this.#rows.length = 0;
    this.#byExchange.clear();
    this.requests = 0;
    this.refused = 0;
  }

  #add({ time, event, exchange = '' }: Line, isRequest: boolean): Draft {
    const begun = isRequest ? { event: '', state: 'running' } : { event, state: 'note' };
    const row = { time, exchange, ...begun, waited: 0, isRepeated: false, askedAt: null };
    this.#rows.push(row);
    if (isRequest) this.requests += 1;
    if (isRequest && exchange !== '') this.#byExchange.set(exchange, row);
    // Removing in portions costs less than a shift for each row.
    const extra = this.#rows.length - this.#capacity;
    if (extra >= this.#capacity / 10)
      for (const old of this.#rows.splice(0, extra)) this.#byExchange.delete(old.exchange ?? '');
    return row;
  }
}
