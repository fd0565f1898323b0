import { z } from 'zod';
import { optional } from '../../lib/text.ts';
import type { AuditLine } from '../../domain/event.ts';
import { auditMatcher } from '../../audit/filter.ts';
import { queryAudit } from '../../audit/query.ts';
import { groupFields, seriesOf } from '../../audit/series.ts';
import type { ServiceParts } from '../parts.ts';
import { type Page, pageOf, pageQuery, pageShape, usualLimit } from '../paging.ts';
import { callOperation, operationRoute } from '../operation-route.ts';
import { type AnyRoute, type Given, route } from '../route.ts';
import { summarizeAudit, verifyAudit } from '../../operations/audit.ts';
import { auditConditions, filterOf } from '../../operations/audit-conditions.ts';
import { eventQuery, tailEvents } from '../../operations/audit-events.ts';
import { named, text, time } from '../../operations/members.ts';

/** Routes of the audit log. */

/** Conditions for lines, all of which must be met. */
const conditions = z.strictObject({
  ...auditConditions,
  since: optional(time, 'At or after this time.'),
  until: optional(time, 'Before this time.'),
  event: optional(text, 'An event, or several with a star: `grant.*`.'),
  grant: z.uuid().optional(),
  user: auditConditions.user.describe('The owner of the grant.'),
  by: optional(text, 'The person or the key that made a change.'),
  outcome: z.enum(['allow', 'deny', 'ok', 'failed', 'aborted']).optional(),
});

type Conditions = z.output<typeof conditions>;

const line = z
  .looseObject({ v: z.literal(1), seq: z.int(), time, node: z.string(), event: z.string(), hash: z.string() })
  .meta({ id: 'AuditLine', description: 'A line of the audit log (docs/audit.md).' });

/** Returns the user whose lines are read. A limited caller gets only lines of the grants of its user. */
function ownerOf({ caller, query }: Given<{ readonly user?: string | undefined }, unknown>): string | null {
  return query.user ?? caller.user;
}

/** Returns the key of a line. */
function keyOf({ node, seq }: Pick<AuditLine, 'node' | 'seq'>): string {
  return `${node}:${seq}`;
}

/** Half of the maximum number of lines that a page is cut from. */
const maxMatches = 20_000;

async function listEvents(
  given: Given<Conditions & { order?: 'asc' | 'desc' }, never>,
  { config, now }: ServiceParts,
) {
  const {
    order = 'desc',
    limit = usualLimit,
    cursor,
    ...conditions
  } = given.query as Conditions & Page & { order?: string };
  // The newest lines. Clients read an older range with `until`. One line after the page tells that more follow.
  const isFirst = order === 'desc' && cursor === undefined;
  const parts = { grants: [], at: now(), last: isFirst ? limit + 1 : 2 * maxMatches };
  const { events } = eventQuery(await config(), { ...conditions, user: ownerOf(given) ?? undefined }, parts);
  const lines: AuditLine[] = [];
  for await (const each of events()) lines.push(each);
  return pageOf(order === 'asc' ? lines : lines.toReversed(), keyOf, { limit, cursor });
}

/** Milliseconds between comments that keep a stream open. */
const beatMs = 15_000;

/** Maximum number of lines that a stream reads before it checks the right of its caller again. */
const batchLines = 256;
/** Milliseconds for which lines are collected after the first one of a batch. */
const batchMs = 100;

/**
 * Returns the newest lines after the one with this key; none if the log no longer has it. Reads the end of the
 * log first, where a client that has just been disconnected finds its line.
 */
async function linesAfter(
  key: string,
  read: (last?: number) => AsyncIterable<AuditLine>,
): Promise<readonly AuditLine[]> {
  for (const last of [1_000, undefined]) {
    let after: AuditLine[] | null = null;
    for await (const each of read(last)) {
      if (keyOf(each) === key) after = [];
      else after?.push(each);
      if ((after?.length ?? 0) >= 2 * maxMatches) after = after!.slice(-maxMatches);
    }
    if (after !== null) return after;
  }
  return [];
}

/**
 * Streams lines as server-sent events while the caller may read them. The id of an event names its line. Sent
 * as `Last-Event-ID`, it resumes the stream after that line.
 */
async function streamEvents(
  given: Given<Conditions & { readonly lines?: number | undefined }, never>,
  { config, timers, now }: ServiceParts,
): Promise<Response> {
  const { lines = 0, ...conditions } = given.query;
  const matches = auditMatcher(filterOf({ ...conditions, user: ownerOf(given) ?? undefined }, [], now()));
  const log = await config();
  const stop = new AbortController();
  given.signal.addEventListener('abort', () => stop.abort());
  const { lastEventId, isStillAllowed } = given;
  const events = tailEvents(log, { lines: lastEventId === undefined ? lines : 0, signal: stop.signal });
  const encoder = new TextEncoder();
  let next = events.next();
  // Read after the tail has begun, so that no line is missed. Lines in both are sent once.
  const sinceThen = (last?: number) =>
    eventQuery(log, { since: conditions.since }, { grants: [], at: now(), last }).events();
  const missed = lastEventId === undefined ? [] : (await linesAfter(lastEventId, sinceThen)).filter(matches);
  const sent = new Set(missed.map(keyOf));
  const textOf = (each: AuditLine) => `id: ${keyOf(each)}\ndata: ${JSON.stringify(each)}\n\n`;

  /** Returns the texts of the next lines: those of `batchMs`, or of a heartbeat if there are none. */
  async function readBatch(): Promise<{ readonly texts: readonly string[]; readonly isLast: boolean }> {
    const before = missed.splice(0, batchLines);
    if (before.length > 0) return { texts: before.map(textOf), isLast: false };
    const texts: string[] = [];
    const { promise: full, resolve } = Promise.withResolvers<'late'>();
    let cancel = timers.after(beatMs, () => resolve('late'));
    try {
      for (let read = 0; read < batchLines; read += 1) {
        const found = await Promise.race([next, full]);
        if (found === 'late') break;
        if (found.done === true) return { texts, isLast: true };
        next = events.next();
        if (!matches(found.value) || sent.delete(keyOf(found.value))) continue;
        texts.push(textOf(found.value));
        if (texts.length > 1) continue;
        cancel();
        cancel = timers.after(batchMs, () => resolve('late'));
      }
    } finally {
      cancel();
    }
    return { texts, isLast: false };
  }

  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(encoder.encode(': \n\n')),
    // Pulled, so that a client that does not read fills no memory.
    async pull(controller) {
      const { texts, isLast } = await readBatch();
      const isAllowed = await isStillAllowed();
      if (isAllowed) controller.enqueue(encoder.encode(texts.length === 0 ? ': \n\n' : texts.join('')));
      if (isAllowed && !isLast) return;
      stop.abort();
      controller.close();
    },
    cancel: () => stop.abort(),
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

/** Formats of a download: `raw` are the lines as they are in the log, whose hashes stay valid. */
const formats = { raw: 'application/x-ndjson', csv: 'text/csv' } as const;

/** Streams the oldest lines first, while the caller may read them. Breaks off the answer if that right ends. */
async function downloadEvents(
  given: Given<Conditions & { readonly format?: keyof typeof formats | undefined }, never>,
  { config, now }: ServiceParts,
): Promise<Response> {
  const { format = 'raw', ...conditions } = given.query;
  const asked = { ...conditions, user: ownerOf(given) ?? undefined };
  const { pieces } = eventQuery(await config(), asked, { grants: [], at: now() });
  async function* texts() {
    for await (const { bytes } of pieces(format)) {
      if (!(await given.isStillAllowed())) throw new Error('the right to read the audit log has ended');
      yield bytes;
    }
  }
  return new Response(ReadableStream.from<Uint8Array>(texts()), {
    headers: { 'content-type': formats[format] },
  });
}

const buckets = z.array(
  z.strictObject({
    time,
    exchanges: z.int(),
    refusals: z.int(),
    failures: z.int(),
    refreshes: z.int(),
    p50_ms: z.number().nullable(),
    p99_ms: z.number().nullable(),
  }),
);

const one = { method: 'get', tag: 'Audit', scope: 'audit:read' } as const;

export const auditRoutes: readonly AnyRoute[] = [
  route({
    ...one,
    path: '/v2/audit/events',
    id: 'listAuditEvents',
    summary: 'List the events that meet every condition, the newest first.',
    query: pageQuery(conditions.extend({ order: z.enum(['asc', 'desc']).optional() })) as z.ZodType<
      Conditions & { order?: 'asc' | 'desc' }
    >,
    owner: ownerOf,
    result: pageShape(line),
    commands: ['audit query', 'audit tail'],
    handle: listEvents,
  }),
  route({
    ...one,
    path: '/v2/audit/stream',
    id: 'streamAuditEvents',
    summary: 'Stream the events that meet every condition, as server-sent events.',
    query: conditions.extend({
      lines: optional(
        z.coerce.number().int().min(0).max(1_000),
        'Number of last events before the new ones.',
      ),
    }),
    owner: ownerOf,
    media: 'text/event-stream',
    commands: ['audit tail'],
    handle: streamEvents,
  }),
  route({
    ...one,
    path: '/v2/audit/download',
    id: 'downloadAuditEvents',
    summary: 'Download the events that meet every condition, the oldest first.',
    query: conditions.extend({
      format: optional(z.enum(['raw', 'csv']), 'Default: the lines of the log as they are.'),
    }),
    owner: ownerOf,
    media: 'application/x-ndjson',
    commands: ['audit query'],
    handle: downloadEvents,
  }),
  operationRoute(verifyAudit, 'GET /v2/audit/verify', { id: 'verifyAudit', isLong: true }),
  route({
    ...one,
    path: '/v2/audit/summary',
    isLong: true,
    id: 'summarizeAudit',
    summary: summarizeAudit.summary,
    query: conditions,
    result: summarizeAudit.output.element,
    list: ({ agent, grant }: z.output<typeof summarizeAudit.output.element>) =>
      JSON.stringify([agent, grant]),
    commands: ['audit summary'],
    handle: async ({ query, caller }, parts) => callOperation(summarizeAudit, query, caller, parts),
  }),
  route({
    ...one,
    path: '/v2/metrics',
    isLong: true,
    id: 'getMetrics',
    summary: 'Count exchanges, refusals, failures and refreshes over time, with the latencies.',
    query: conditions.pick({ agent: true, host: true, grant: true }).extend({
      since: time,
      until: time.optional(),
      step: optional(z.coerce.number().int().min(1).max(86_400), 'Seconds of a bucket; default: 60 buckets.'),
      by: optional(z.enum(groupFields), 'Also count the lines of each value of this field.'),
    }),
    result: named('Metrics', {
      step: z.number(),
      buckets,
      groups: z
        .array(z.strictObject({ key: z.string().nullable().describe('Null: lines without one.'), buckets }))
        .optional()
        .describe('With `by`: the ten values with the most exchanges and refusals.'),
    }),
    async handle({ query: { since, until, step, by, ...conditions } }, { config, now }) {
      const at = now();
      const range = { since: Date.parse(since), until: until === undefined ? at : Date.parse(until) };
      const query = {
        file: (await config()).audit.file,
        filter: { ...filterOf(conditions, [], at), ...range },
      };
      return seriesOf(queryAudit(query), range, step === undefined ? null : step * 1_000, by);
    },
  }),
];
