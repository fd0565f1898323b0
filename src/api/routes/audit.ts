import { z } from 'zod';
import type { AuditLine } from '../../domain/event.ts';
import { auditMatcher } from '../../audit/filter.ts';
import { queryAudit } from '../../audit/query.ts';
import { seriesOf } from '../../audit/series.ts';
import { within } from '../../lib/timers.ts';
import type { ServiceParts } from '../parts.ts';
import { type Page, pageOf, pageQuery, pageShape } from '../paging.ts';
import { callOperation, operationRoute } from '../operation-route.ts';
import { type AnyRoute, type Given, route } from '../route.ts';
import { summarizeAudit, verifyAudit } from '../../operations/audit.ts';
import { auditConditions, filterOf } from '../../operations/audit-conditions.ts';
import { eventQuery, tailEvents } from '../../operations/audit-events.ts';
import { text, time } from '../../operations/members.ts';

/** Routes of the audit log. */

/** Conditions for lines, all of which must be met. */
const conditions = z.strictObject({
  ...auditConditions,
  since: time.optional().describe('At or after this time.'),
  until: time.optional().describe('Before this time.'),
  event: text.optional().describe('An event, or several with a star: `grant.*`.'),
  grant: z.uuid().optional(),
  user: text.optional().describe('The owner of the grant.'),
  by: text.optional().describe('The person or the key that made a change.'),
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
    limit,
    cursor,
    ...conditions
  } = given.query as Conditions & Page & { order?: string };
  // The newest lines. Clients read an older range with `until`.
  const parts = { grants: [], at: now(), last: 2 * maxMatches };
  const { events } = eventQuery(await config(), { ...conditions, user: ownerOf(given) ?? undefined }, parts);
  const lines: AuditLine[] = [];
  for await (const each of events()) lines.push(each);
  return pageOf(order === 'asc' ? lines : lines.toReversed(), keyOf, { limit, cursor });
}

/** Milliseconds between comments that keep a stream open. */
const beatMs = 15_000;

/** Returns the newest lines after the one with this key; none if it is not in the log any more. */
async function linesAfter(key: string, lines: AsyncIterable<AuditLine>): Promise<readonly AuditLine[]> {
  let after: AuditLine[] | null = null;
  for await (const each of lines) {
    if (keyOf(each) === key) after = [];
    else after?.push(each);
    if ((after?.length ?? 0) >= 2 * maxMatches) after = after!.slice(-maxMatches);
  }
  return after ?? [];
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
  const sinceThen = eventQuery(log, { since: conditions.since }, { grants: [], at: now() });
  const missed =
    lastEventId === undefined ? [] : (await linesAfter(lastEventId, sinceThen.events())).filter(matches);
  const sent = new Set(missed.map(keyOf));
  const textOf = (each: AuditLine) => encoder.encode(`id: ${keyOf(each)}\ndata: ${JSON.stringify(each)}\n\n`);
  const end = (controller: ReadableStreamDefaultController) => {
    stop.abort();
    controller.close();
  };
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(encoder.encode(': \n\n')),
    // Pulled, so that a client that does not read fills no memory.
    async pull(controller) {
      for (;;) {
        const before = missed.shift();
        const found =
          before === undefined ? await within(timers, next, beatMs) : { done: false, value: before };
        if (!(await isStillAllowed())) return end(controller);
        if (found === 'late') return controller.enqueue(encoder.encode(': \n\n'));
        if (found.done === true) return controller.close();
        const { value: each } = found;
        if (before === undefined) {
          next = events.next();
          if (!matches(each) || sent.delete(keyOf(each))) continue;
        }
        return controller.enqueue(textOf(each));
      }
    },
    cancel: () => stop.abort(),
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

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
      lines: z.coerce
        .number()
        .int()
        .min(0)
        .max(1_000)
        .optional()
        .describe('Number of last events before the new ones.'),
    }),
    owner: ownerOf,
    media: 'text/event-stream',
    commands: ['audit tail'],
    handle: streamEvents,
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
    query: z.strictObject({
      since: time,
      until: time.optional(),
      step: z.coerce
        .number()
        .int()
        .min(1)
        .max(86_400)
        .optional()
        .describe('Seconds of a bucket; default: 60 buckets.'),
    }),
    result: z
      .strictObject({
        step: z.number(),
        buckets: z.array(
          z.strictObject({
            time,
            exchanges: z.int(),
            refusals: z.int(),
            failures: z.int(),
            refreshes: z.int(),
            p50_ms: z.number().nullable(),
            p99_ms: z.number().nullable(),
          }),
        ),
      })
      .meta({ id: 'Metrics' }),
    async handle({ query: { since, until, step } }, { config, now }) {
      const { audit } = await config();
      const range = { since: Date.parse(since), until: until === undefined ? now() : Date.parse(until) };
      return seriesOf(
        queryAudit({ file: audit.file, filter: range }),
        range,
        step === undefined ? null : step * 1_000,
      );
    },
  }),
];
