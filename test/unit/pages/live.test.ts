import { describe, expect, it } from 'vitest';
import { comparedOf, type Line, LiveRows } from '../../../src/pages/live.ts';

const start = Date.UTC(2026, 0, 1);

/** A line at so many milliseconds after the start. */
function line(at: number, event: string, fields: Partial<Line> = {}): Line {
  return { time: new Date(start + at).toISOString(), event, exchange: 'a', ...fields };
}

function rowsOf(...lines: readonly Line[]) {
  const live = new LiveRows();
  for (const each of lines) live.take(each);
  return live.rows({ notes: true });
}

const request = {
  agent: 'ci',
  lease: 'l-1',
  host: 'api.example.com',
  method: 'GET',
  path: '/x',
  grant: 'g-1',
};

it('shows each refusal of an unknown caller as a request of its own', () => {
  const refusal = line(0, 'denied', { exchange: '', code: 'auth_required', status: 407 });
  const live = new LiveRows();
  for (const each of [refusal, refusal]) live.take(each);
  expect(live.rows()).toMatchObject([
    { state: 'denied', status: 407 },
    { state: 'denied', status: 407 },
  ]);
  expect(live).toMatchObject({ requests: 2, refused: 2 });
});

describe('the lines of one request', () => {
  it.each<[string, readonly Line[], object]>([
    ['begins with its access', [line(0, 'access', request)], { ...request, state: 'running' }],
    [
      'ends with its outcome',
      [line(0, 'access', request), line(9, 'outcome', { outcome: 'ok', status: 200, duration_ms: 9 })],
      { ...request, state: 'ok', status: 200, took: 9, waited: 0, isRepeated: false },
    ],
    [
      'failed after its access',
      [
        line(0, 'access', request),
        line(9, 'outcome', { outcome: 'failed', status: 502, code: 'upstream_tls' }),
      ],
      { ...request, state: 'failed', status: 502, code: 'upstream_tls' },
    ],
    [
      'has an outcome with all fields, if its access was missed',
      [line(9, 'outcome', { ...request, outcome: 'aborted', duration_ms: 9 })],
      { ...request, state: 'aborted', took: 9 },
    ],
    [
      'was sent again with a refreshed token',
      [line(0, 'access', request), line(5, 'access', request), line(9, 'outcome', { duration_ms: 9 })],
      { state: 'ok', isRepeated: true, took: 9 },
    ],
    [
      'was refused',
      [line(0, 'denied', { ...request, status: 403, code: 'rule_denied', duration_ms: 1 })],
      { ...request, state: 'denied', status: 403, code: 'rule_denied' },
    ],
    ['waits for a person', [line(0, 'approval.asked', request)], { ...request, state: 'waiting' }],
    [
      'waited for a person who allowed it: that time is not its own',
      [
        line(1, 'approval.asked', request),
        line(30_001, 'approval.allowed', { ...request, reason: 'alice in a terminal, once' }),
        line(30_002, 'access', { ...request, reason: 'ticket 7' }),
        line(30_010, 'outcome', { duration_ms: 30_010 }),
      ],
      { ...request, state: 'ok', waited: 30_000, took: 10, isRepeated: false, reason: 'ticket 7' },
    ],
    [
      'was refused by a person',
      [
        line(1, 'approval.asked', request),
        line(5_001, 'approval.denied', { ...request, reason: 'alice in a terminal' }),
        line(5_002, 'denied', { ...request, code: 'approval_denied', duration_ms: 5_002 }),
      ],
      { state: 'denied', waited: 5_000, took: 2, code: 'approval_denied' },
    ],
    [
      'ended before a person answered',
      [line(1, 'approval.asked', request), line(5_001, 'denied', { ...request, duration_ms: 5_001 })],
      { state: 'denied', waited: 5_000, took: 1 },
    ],
    [
      'has further events, which are no rows',
      [line(0, 'access', request), line(1, 'credential.added', { grant: 'g-2' }), line(2, 'policy.reported')],
      { ...request, state: 'running' },
    ],
    ['was tunnelled', [line(0, 'tunnel', { host: 'example.org', outcome: 'ok' })], { state: 'ok' }],
  ])('are one row: a request that %s', (_case, lines, expected) => {
    expect(rowsOf(...lines)).toEqual([expect.objectContaining(expected)]);
  });
});

describe('the rows', () => {
  const live = new LiveRows();
  live.take(line(0, 'access', { ...request, exchange: 'a' }));
  live.take(
    line(1, 'denied', {
      ...request,
      exchange: 'b',
      agent: 'bot',
      host: 'other.example',
      code: 'rule_denied',
    }),
  );
  live.take({ time: line(2, '').time, event: 'grant.refreshed', grant: 'g-1' });

  it.each([
    ['none', {}, ['b', 'a']],
    ['events too', { notes: true }, ['', 'b', 'a']],
    ['an agent', { agent: 'bot' }, ['b']],
    ['a host and another state', { host: 'other.example', state: 'ok' }, []],
    ['a grant', { grant: 'g-1', notes: true }, ['', 'b', 'a']],
    ['empty texts', { agent: '', host: '', grant: '', state: '', text: '' }, ['b', 'a']],
    ['a part of the address', { text: 'OTHER.example/x' }, ['b']],
    ['a part of the code', { text: 'Rule_' }, ['b']],
  ])('are filtered by %s, the newest first', (_case, filter, expected) => {
    expect(live.rows(filter).map(({ exchange }) => exchange)).toEqual(expected);
  });

  it('are counted, also those that a filter hides', () => {
    expect([live.requests, live.refused]).toEqual([2, 1]);
  });

  it('are bounded, and a request that has left them is forgotten', () => {
    const bounded = new LiveRows(100);
    for (let n = 0; n < 10_000; n += 1) {
      bounded.take(line(n, 'access', { ...request, exchange: `x${n}` }));
      bounded.take(line(n, 'outcome', { exchange: `x${n}`, outcome: 'ok', duration_ms: 1 }));
    }
    const rows = bounded.rows();
    expect(rows.map(({ exchange }) => exchange)).toEqual(
      Array.from({ length: 100 }, (_, n) => `x${9_999 - n}`),
    );
    expect(rows.every(({ state }) => state === 'ok')).toBe(true);
    expect(bounded.requests).toBe(10_000);
    bounded.take(line(0, 'outcome', { exchange: 'x0', outcome: 'failed' }));
    expect(bounded.rows()[0]).toMatchObject({ exchange: 'x0', state: 'failed' });
    expect(bounded.rows()[0]!.host).toBeUndefined();
    bounded.clear();
    expect(bounded.rows()).toEqual([]);
  });
});

it.each([
  ['api.example.com', 'api.example.com'],
  ['api.example.com:8443', 'api.example.com'],
  ['*.example.com:8443', '*.example.com'],
  ['[::1]:8443', '[::1]'],
  ['[::1]', '[::1]'],
])('the host %s is filtered as %s', (host, compared) => {
  const live = new LiveRows();
  live.take(line(0, 'domain.changed', { exchange: '', host }));
  const notes = live.rows({ host: compared, notes: true });
  expect(notes.map((row) => [row.host, comparedOf(row, 'host')])).toEqual([[host, compared]]);
});
