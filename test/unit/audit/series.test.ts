import { describe, expect, it } from 'vitest';
import { seriesOf } from '../../../src/audit/series.ts';
import { summarize } from '../../../src/audit/summary.ts';
import type { AuditEvent, AuditLine } from '../../../src/domain/event.ts';

const start = Date.UTC(2026, 0, 1);
const minute = { since: start, until: start + 60_000 };

/** Lines of these events, each at so many milliseconds after the start. */
async function* lines(...events: readonly (readonly [number, AuditEvent])[]): AsyncGenerator<AuditLine> {
  for (const [at, event] of events)
    yield { ...event, time: new Date(start + at).toISOString() } as unknown as AuditLine;
}

const ended = (exchange: string, fields: Partial<AuditEvent> = {}): AuditEvent => ({
  event: 'outcome',
  exchange,
  outcome: 'ok',
  duration_ms: 10,
  ...fields,
});

const asked = (exchange: string): AuditEvent => ({ event: 'approval.asked', exchange });
const allowed = (exchange: string): AuditEvent => ({ event: 'approval.allowed', exchange });

describe('the time that a request waited for a person', () => {
  it.each([
    ['of a request without a question', [[30_010, ended('a', { duration_ms: 100 })]], 100],
    [
      'of a question that a person allowed',
      [
        [10, asked('a')],
        [30_010, allowed('a')],
        [30_100, ended('a', { duration_ms: 30_100 })],
      ],
      100,
    ],
    [
      'of two questions of one request',
      [
        [0, asked('a')],
        [10_000, allowed('a')],
        [10_000, asked('a')],
        [30_000, allowed('a')],
        [30_100, ended('a', { duration_ms: 30_100 })],
      ],
      100,
    ],
    [
      'of a request that ended before the answer',
      [
        [100, asked('a')],
        [30_100, ended('a', { duration_ms: 30_100, outcome: 'aborted' })],
      ],
      100,
    ],
    [
      'of another request',
      [
        [0, asked('b')],
        [30_000, allowed('b')],
        [30_100, ended('a', { duration_ms: 100 })],
      ],
      100,
    ],
    [
      'by a clock that is behind',
      [
        [30_000, asked('a')],
        [10, allowed('a')],
        [30_100, ended('a', { duration_ms: 100 })],
      ],
      100,
    ],
    [
      'longer than the request, by a clock that is ahead',
      [
        [0, asked('a')],
        [50_000, allowed('a')],
        [30_100, ended('a', { duration_ms: 30_100 })],
      ],
      0,
    ],
  ] as [string, [number, AuditEvent][], number][])('%s is no latency', async (_case, events, expected) => {
    const { buckets } = await seriesOf(lines(...events), minute, 60_000);
    const [row] = (await summarize(lines(...events))).filter(({ p50 }) => p50 !== null);
    for (const each of [buckets[0]!.p50_ms!, buckets[0]!.p99_ms!, row!.p50!, row!.p99!]) {
      expect(each).toBeGreaterThanOrEqual(expected * 0.99);
      expect(each).toBeLessThanOrEqual(expected * 1.01);
    }
  });
});

describe('a series by a field', () => {
  it('counts each value apart, the most requests first, and lines without the field under null', async () => {
    const found = await seriesOf(
      lines(
        [0, ended('a', { agent: 'ci' })],
        [0, { event: 'denied', agent: 'bot' }],
        [30_000, ended('b', { agent: 'bot', outcome: 'failed', duration_ms: 40 })],
        [30_000, { event: 'denied' }],
        [30_000, { event: 'grant.refreshed' }],
        [30_000, { event: 'grant.refreshed', agent: 'no-request' }],
      ),
      minute,
      30_000,
      'agent',
    );
    const nothing = { exchanges: 0, refusals: 0, failures: 0, refreshes: 0, p50_ms: null, p99_ms: null };
    const times = [0, 30_000].map((at) => ({ time: new Date(start + at).toISOString() }));
    expect(found.groups).toEqual([
      {
        key: 'bot',
        buckets: [
          { ...nothing, ...times[0], refusals: 1 },
          {
            ...nothing,
            ...times[1],
            exchanges: 1,
            failures: 1,
            p50_ms: expect.closeTo(40, 0),
            p99_ms: expect.closeTo(40, 0),
          },
        ],
      },
      {
        key: 'ci',
        buckets: [
          {
            ...nothing,
            ...times[0],
            exchanges: 1,
            p50_ms: expect.closeTo(10, 0),
            p99_ms: expect.closeTo(10, 0),
          },
          { ...nothing, ...times[1] },
        ],
      },
      {
        key: null,
        buckets: [
          { ...nothing, ...times[0] },
          { ...nothing, ...times[1], refusals: 1, refreshes: 1 },
        ],
      },
    ]);
    expect(found.buckets.map(({ exchanges, refreshes }) => [exchanges, refreshes])).toEqual([
      [1, 0],
      [1, 2],
    ]);
  });

  it('has the ten largest of any number of values, and counts all lines in the whole', async () => {
    const hosts = Array.from({ length: 1_200 }, (_, index) => `h${index}.example`);
    const events = hosts.map((host): [number, AuditEvent] => [0, ended(host, { host })]);
    const more = Array.from({ length: 12 }, (_, index): [number, AuditEvent][] =>
      Array.from({ length: index }, (__, turn) => [0, ended(`${index}-${turn}`, { host: hosts[index] })]),
    ).flat();
    const { groups = [], buckets } = await seriesOf(lines(...events, ...more), minute, null, 'host');
    expect(groups.map(({ key }) => key)).toEqual(hosts.slice(2, 12).toReversed());
    expect(buckets[0]!.exchanges).toBe(events.length + more.length);
  });
});
