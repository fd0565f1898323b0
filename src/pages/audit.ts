import { call, follow, type View } from './api.ts';
import { action, choice, field, fill, form, h, table, time } from './dom.ts';

export interface Line {
  readonly time: string;
  readonly event: string;
  readonly agent?: string;
  readonly by?: string;
  readonly method?: string;
  readonly host?: string;
  readonly path?: string;
  readonly provider?: string;
  readonly status?: number;
  readonly outcome?: string;
  readonly code?: string;
  readonly reason?: string;
  readonly duration_ms?: number;
}

const maxLive = 200;

/** The audit log: filters, a live tail, and the verification of its chains. */
export const audit: View = async (main, _me, signal) => {
  let query = new URLSearchParams();
  let lines: readonly Line[] = [];
  let stream = new AbortController();
  const list = h('div', {});
  const verdict = h('span', { role: 'status' });

  const draw = (cursor: string | null) =>
    fill(
      list,
      table(
        'Events',
        ['Time', 'Event', 'Who', 'Request', 'Result', 'Reason'],
        lines.map(cells),
        'No event fits.',
      ),
      cursor !== null && action('Older events', () => read(cursor), 'quiet'),
    );
  const read = async (cursor: string | null) => {
    const page = await call<{ readonly data: readonly Line[]; readonly next_cursor: string | null }>(
      `GET /v2/audit/events?${query}${cursor === null ? '' : `&cursor=${cursor}`}`,
    );
    lines = cursor === null ? page.data : [...lines, ...page.data];
    draw(page.next_cursor);
  };
  const take = (data: string) => {
    lines = [JSON.parse(data) as Line, ...lines].slice(0, maxLive);
    draw(null);
  };
  const show = async () => {
    stream.abort();
    stream = new AbortController();
    if (live.checked) void follow(`/v2/audit/stream?${query}`, stream.signal, take);
    await read(null);
  };
  const live = h('input', { type: 'checkbox', checked: true, onchange: show });
  signal.addEventListener('abort', () => stream.abort());

  fill(
    main,
    form(
      'Filter',
      [
        field('Event', 'event', { placeholder: 'denied, grant.*' }),
        field('Agent', 'agent'),
        field('Host', 'host'),
        field('User', 'user'),
        field('Changed by', 'by'),
        field('Code', 'code', { placeholder: 'rule_denied' }),
        field('Since', 'since', { type: 'datetime-local' }),
        choice('Outcome', 'outcome', ['', 'allow', 'deny', 'ok', 'failed', 'aborted']),
      ],
      async ({ since, ...values }) => {
        query = new URLSearchParams(values);
        if (since !== undefined) query.set('since', new Date(since).toISOString());
        await show();
      },
    ),
    h(
      'p',
      {},
      h('label', { class: 'inline' }, live, ' show new events'),
      action(
        'Verify the log',
        async () => {
          const {
            ok,
            lines: count,
            problems,
          } = await call<{ ok: boolean; lines: number; problems: readonly unknown[] }>(
            'GET /v2/audit/verify',
          );
          fill(
            verdict,
            ok
              ? `Verified: ${count} lines, none edited, removed or cut off.`
              : `Not intact: ${problems.length} problems. `,
            !ok && h('code', {}, 'sidekey audit verify'),
          );
        },
        'quiet',
      ),
      verdict,
    ),
    list,
  );
  await show();
};

function cells(line: Line): (Node | string | number)[] {
  const request =
    line.method === undefined
      ? (line.host ?? line.provider ?? '')
      : `${line.method} ${line.host}${line.path ?? ''}`;
  const result = [line.outcome, line.status, line.code].filter((part) => part !== undefined).join(' ');
  return [
    time(line.time) as Node,
    line.event,
    line.agent ?? line.by ?? '–',
    request,
    result,
    line.reason ?? '',
  ];
}
