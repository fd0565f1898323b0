import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call, download, follow, type PageProps } from './api.ts';
import { Exchange } from './exchange.tsx';
import { type Line, requestOf } from './live.ts';
import { Badge, Check, Choice, Field, Form, Table, Time } from './parts.tsx';
import { Action } from './remedy.tsx';
import { Rows, usePages } from './rows.tsx';

/** Page "Audit": events that meet conditions, new events, and the verification of the log. */

/** Conditions of the list, with local times. They stay while the person looks at one request. */
const conditions = signal<Readonly<Record<string, string>>>({});
/** True if the list shows local times in place of spans. */
const exactItem = 'sidekey-exact-times';
const isExact = signal(localStorage.getItem(exactItem) === 'yes');

/** Maximum number of new lines above the list. With more of them the list is read again. */
const maxNew = 500;

export function Audit({ args: [exchange] }: PageProps): JSX.Element {
  return exchange === undefined ? <Events /> : <Exchange id={exchange} />;
}

const isTime = (name: string) => name === 'since' || name === 'until';

function Events(): JSX.Element {
  const given = Object.entries(conditions.value);
  const query = new URLSearchParams(
    given.map(([name, value]) => [name, isTime(name) ? new Date(value).toISOString() : value]),
  ).toString();
  const pages = usePages<Line>(`/v2/audit/events?${query}`);
  const [isLive, setLive] = useState(true);
  const [fresh, setFresh] = useState<readonly Line[]>([]);
  const [resets, setResets] = useState(0);
  const removeConditions = () => {
    conditions.value = {};
    setResets((before) => before + 1);
  };
  useEffect(() => {
    setFresh([]);
    if (!isLive) return undefined;
    const stop = new AbortController();
    // The last lines too, because one may be written between the list and the stream.
    void follow(`/v2/audit/stream?lines=100&${query}`, stop.signal, (data) =>
      setFresh((before) => [JSON.parse(data) as Line, ...before]),
    );
    return () => stop.abort();
  }, [query, isLive]);
  useEffect(() => {
    if (fresh.length <= maxNew) return;
    setFresh([]);
    void pages.reload();
  }, [fresh.length > maxNew]);
  const shown = new Set(fresh.map(keyOf));
  const entries = [...fresh, ...pages.entries.filter((line) => !shown.has(keyOf(line)))];
  const file = `/v2/audit/download?${query}&format=`;
  return (
    <>
      <Conditions key={resets} />
      <div class="bar">
        <Check
          label="Show new events"
          checked={isLive}
          onChange={(event) => setLive(event.currentTarget.checked)}
        />
        <Check
          label="Exact times"
          checked={isExact}
          onChange={(event) => {
            isExact.value = event.currentTarget.checked;
            localStorage.setItem(exactItem, isExact.value ? 'yes' : 'no');
          }}
        />
        <span class="end" />
        <Verification />
        <Action label="Save as CSV" kind="quiet" run={() => download(`${file}csv`, 'audit.csv')} />
        <Action label="Save as JSON lines" kind="quiet" run={() => download(`${file}raw`, 'audit.jsonl')} />
      </div>
      <Rows
        caption="Events"
        headings={['Time', 'Event', 'Request', 'Result', 'Who', 'Reason']}
        columns="8rem 9rem minmax(10rem, 3fr) 9rem minmax(5rem, 1fr) minmax(6rem, 1.5fr)"
        source={{ ...pages, entries }}
        row={cells}
        none={
          query === '' ? (
            <p class="none">
              The log has no events yet. <a href="#now">Send a first request</a>
            </p>
          ) : (
            <p class="none">
              No event fits. <Action label="Remove the conditions" kind="quiet" run={removeConditions} />
            </p>
          )
        }
      />
    </>
  );
}

const keyOf = ({ node, seq }: Line) => `${node}:${seq}`;

function cells(line: Line): (JSX.Element | string)[] {
  const { time, event, exchange, agent, by, outcome, status, code, reason = '' } = line;
  const request = requestOf(line);
  const state = event === 'denied' ? event : exchange === undefined ? undefined : outcome;
  const result = [status, code].filter((part) => part !== undefined).join(' ');
  return [
    <Time at={time} exact={isExact.value} />,
    <span title={event}>{event}</span>,
    <span title={request}>
      {exchange === undefined ? request : <a href={`#audit/${encodeURIComponent(exchange)}`}>{request}</a>}
    </span>,
    <>
      {state !== undefined && <Badge state={state} />} {result}
    </>,
    agent ?? by ?? '–',
    <span title={reason}>{reason}</span>,
  ];
}

/** Labels of conditions that are folded unless one is set, some with an example. */
const rare: Readonly<Record<string, readonly [label: string, placeholder?: string]>> = {
  code: ['Code', 'rule_denied'],
  user: ['User'],
  by: ['Changed by'],
  provider: ['Service', 'github'],
  port: ['Port', '443'],
  lease: ['Lease'],
  exchange: ['Request'],
  grant: ['Account ID'],
};

const outcomes = ['', 'allow', 'deny', 'ok', 'failed', 'aborted'];

/** The conditions, of which the rarer ones are folded. */
function Conditions(): JSX.Element {
  const { value: values } = conditions;
  const isFolded = ['until', 'outcome', ...Object.keys(rare)].every((name) => !values[name]);
  const field = (label: string, name: string, placeholder = '') => {
    const given = { label, name, placeholder, defaultValue: values[name] ?? '' };
    return isTime(name) ? <Field {...given} type="datetime-local" /> : <Field key={name} {...given} />;
  };
  return (
    <Form label="Filter" submit={(given) => (conditions.value = given)} keep>
      {field('Event', 'event', 'denied, grant.*')}
      {field('Agent', 'agent')}
      {field('Host', 'host')}
      {field('Since', 'since')}
      <details open={!isFolded}>
        <summary>More conditions</summary>
        <div class="bar">
          {field('Until', 'until')}
          <Choice label="Outcome" name="outcome" options={outcomes} chosen={values['outcome'] ?? ''} />
          {Object.entries(rare).map(([name, [label, example]]) => field(label, name, example))}
        </div>
      </details>
    </Form>
  );
}

interface Verified extends Readonly<Record<'lines' | 'files' | 'omitted', number>> {
  readonly ok: boolean;
  readonly problems: readonly (Readonly<Record<'file' | 'kind' | 'sentence', string>> & { line: number })[];
}

/** The button that verifies the log, and what it found. */
function Verification(): JSX.Element {
  const [found, setFound] = useState<Verified | null>(null);
  return (
    <>
      <Action
        label="Verify the log"
        kind="quiet"
        run={async () => setFound(await call<Verified>('GET /v2/audit/verify'))}
      />
      <div role="status">
        {found?.ok === true && `Verified: ${found.lines} lines, none edited, removed or cut off.`}
        {found?.ok === false && `Not intact: ${found.problems.length + found.omitted} problems.`}
      </div>
      {found?.ok === false && (
        <Table
          caption="Problems of the log"
          headings={['File', 'Line', 'Kind', 'Problem']}
          rows={found.problems.map(({ file, line, kind, sentence }) => [file, line, kind, sentence])}
          none="Problems between this log and the store: see Health."
        />
      )}
    </>
  );
}
