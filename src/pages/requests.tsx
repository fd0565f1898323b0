import { useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { call, may, path } from './api.ts';
import { RequestFacts } from './exchange.tsx';
import { grantName } from './grant-name.ts';
import { comparedOf, durationText, type LiveRows, requestOf, type Row, type RowFilter } from './live.ts';
import { Badge, Check, Choice, Confirm, Field } from './parts.tsx';
import { Rows } from './rows.tsx';

/** The list of requests as they pass, with its filter, and one request in full. */

const states = ['', 'running', 'waiting', 'ok', 'failed', 'aborted', 'denied'];

/** The state of the log when the list was paused. */
interface Pause {
  readonly by: 'button' | 'reading';
  readonly version: number;
  readonly requests: number;
}

interface RequestsProps {
  readonly rows: LiveRows;
  readonly filter: RowFilter;
  readonly setFilter: (filter: RowFilter) => void;
}

/** The live list. It stands still while it is paused, and while the person points at it or reads on in it. */
export function Requests({ rows, filter, setFilter }: RequestsProps): JSX.Element {
  const [pause, setPause] = useState<Pause | null>(null);
  const [chosen, setChosen] = useState<Row | null>(null);
  const hold = (by: Pause['by']) => setPause({ by, version: rows.version.peek(), requests: rows.requests });
  const reading = (isReading: boolean) => {
    if (isReading && pause === null && rows.rows(filter).length > 0) hold('reading');
    if (!isReading && pause?.by === 'reading') setPause(null);
  };
  return (
    <section aria-label="Requests">
      <div class="bar">
        <button
          type="button"
          class="quiet"
          aria-pressed={pause?.by === 'button'}
          onClick={() => (pause === null ? hold('button') : setPause(null))}
        >
          {pause === null ? 'Pause' : 'Resume'}
        </button>
        <Pace rows={rows} pause={pause} />
        <Check
          class="end"
          label="Events too"
          name="notes"
          onChange={(event) => setFilter({ ...filter, notes: event.currentTarget.checked })}
        />
      </div>
      <Filters rows={rows} filter={filter} setFilter={setFilter} />
      <div
        onFocusIn={() => reading(true)}
        onFocusOut={({ currentTarget, relatedTarget }) =>
          reading(currentTarget.contains(relatedTarget as Node | null))
        }
        onPointerOver={() => reading(true)}
        onPointerLeave={() => reading(false)}
        onScrollCapture={({ target }) => reading((target as Element).scrollTop > 8)}
      >
        <List rows={rows} pause={pause} filter={filter} choose={setChosen} />
      </div>
      {chosen !== null && <Details row={chosen} close={() => setChosen(null)} />}
    </section>
  );
}

/** Choices change seldom, and cost more than the rows: they are made at every twentieth commit. */
function Filters({ rows, filter, setFilter }: RequestsProps): JSX.Element {
  const era = useComputed(() => Math.ceil(rows.version.value / 20));
  const [agents, hosts, grants] = useMemo(() => {
    const all = rows.rows({ notes: true });
    return (['agent', 'host', 'grant'] as const).map((name) =>
      [...new Set(all.flatMap((row) => comparedOf(row, name) ?? []))].toSorted().slice(0, 100),
    );
  }, [era.value]) as [string[], string[], string[]];
  const change = (name: keyof RowFilter) => (value: string) => setFilter({ ...filter, [name]: value });
  const accounts = [['', 'any'], ...grants.map((id) => [id, grantName(id)])] as [string, string][];
  return (
    <form class="plain" onSubmit={(event) => event.preventDefault()}>
      <Field label="Search" name="text" onInput={(event) => change('text')(event.currentTarget.value)} />
      <Choice label="Agent" name="agent" options={['', ...agents]} onChange={change('agent')} />
      <Choice label="Host" name="host" options={['', ...hosts]} onChange={change('host')} />
      <Choice label="Account" name="grant" options={accounts} onChange={change('grant')} />
      <Choice label="Status" name="state" options={states} onChange={change('state')} />
    </form>
  );
}

interface ListProps extends Pick<RequestsProps, 'rows' | 'filter'> {
  readonly pause: Pause | null;
  readonly choose: (row: Row) => void;
}

function List({ rows, filter, pause, choose }: ListProps): JSX.Element {
  const { value: current } = rows.version;
  const shown = useMemo(() => rows.rows(filter), [pause?.version ?? current, filter]);
  return (
    <Rows
      caption="Requests as they pass"
      headings={['Time', 'Status', 'Request', 'Agent', 'Account', 'Took']}
      columns="6rem 7.5rem minmax(12rem, 1fr) minmax(4rem, 7rem) minmax(4rem, 7.5rem) 4.5rem"
      source={{ entries: shown, isComplete: true, more() {} }}
      row={(row) => cellsOf(row, () => choose(row))}
      height="26rem"
      none={
        <p class="none">
          {rows.requests === 0 ? 'No request has come lately.' : 'No request meets these conditions.'} Rows
          appear as requests pass.
        </p>
      }
    />
  );
}

/** Requests since the pause, or in the last ten seconds. Screen readers hear it instead of the rows. */
function Pace({ rows, pause }: Pick<ListProps, 'rows' | 'pause'>): JSX.Element {
  const [sentence, setSentence] = useState('Requests appear as they pass.');
  // Reads the version only during a pause, so that only then each commit renders.
  const fresh = pause === null || rows.version.value < 0 ? 0 : rows.requests - pause.requests;
  useEffect(() => {
    // The first lines are older, and so are those after a pause of the stream, which counts from 0.
    let [requests, refused] = [Infinity, 0];
    const timer = setInterval(() => {
      const passed = rows.requests - requests;
      if (passed >= 0)
        setSentence(
          `Last 10 seconds: ${passed.toLocaleString()} requests, ${rows.refused - refused} refused.`,
        );
      ({ requests, refused } = rows);
    }, 10_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <span class="muted" role="status">
      {fresh > 0 ? `Paused, ${fresh.toLocaleString()} new.` : sentence}
    </span>
  );
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

/** Returns the title of a row. A malformed request has no method and perhaps no host. */
function titleOf(row: Row): string {
  return row.state === 'note' ? row.event : requestOf(row) || (row.reason ?? row.event);
}

/** The cells of a row. A narrow screen shows the first four. */
function cellsOf(row: Row, open: () => void): readonly (JSX.Element | string)[] {
  const { time, state, status, agent, grant, took, isRepeated } = row;
  return [
    <time dateTime={time}>{clock.format(new Date(time))}</time>,
    <>
      {state === 'ok' ? '' : <Badge state={state === 'note' ? 'event' : state} />} {status}
    </>,
    <button type="button" class="link" onClick={open}>
      {titleOf(row)}
    </button>,
    agent ?? 'no agent',
    grant === undefined ? '–' : grantName(grant),
    `${took === undefined ? '' : durationText(took)}${isRepeated ? ' ↻' : ''}`,
  ];
}

/** A request in full, with what ends its agent or its lease. */
function Details({ row, close }: { readonly row: Row; readonly close: () => void }): JSX.Element {
  const [done, setDone] = useState('');
  const { agent, lease, exchange = '' } = row;
  return (
    <section class="card" aria-label="Details">
      <h2>{titleOf(row)}</h2>
      <RequestFacts of={row} />
      <p role="status">{done}</p>
      <div class="buttons">
        {exchange !== '' && (
          <a class="button quiet" href={path`#audit/${exchange}`}>
            Whole record
          </a>
        )}
        {may('access:write') && agent !== undefined && (
          <Confirm
            label={`Disable ${agent}`}
            question={`Disable the agent ${agent}? Its token is refused and its leases end. You can enable it again.`}
            run={async () => {
              await call(path`PATCH /v2/agents/${agent}`, { disabled: true });
              setDone(`The agent ${agent} is disabled.`);
            }}
          />
        )}
        {may('access:write') && lease !== undefined && (
          <Confirm
            label="End the lease"
            question="End this lease? Requests with its token are refused."
            run={async () => {
              await call(path`POST /v2/leases/${lease}/revoke`);
              setDone('The lease has ended.');
            }}
          />
        )}
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </div>
    </section>
  );
}
