import { type ReadonlySignal, useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { call, type Me, path } from './api.ts';
import { grantName } from './grant-name.ts';
import type { LiveRows, Row, RowFilter } from './live.ts';
import { Badge, Choice, Confirm, Empty, Facts, Field, Time } from './parts.tsx';
import { Rows } from './rows.tsx';

/** The list of requests as they pass, with its filter, and one request in full. */

/** Styles that only this page needs. */
const grid = {
  display: 'grid',
  gridTemplateColumns: 'repeat(auto-fit, minmax(10rem, 1fr))',
  margin: '0 0 1rem',
};
const plain = {
  minHeight: 0,
  padding: 0,
  border: 0,
  background: 'none',
  color: 'var(--accent)',
  maxWidth: '100%',
  overflow: 'hidden',
  fontSize: 'inherit',
  textOverflow: 'ellipsis',
};

const states = ['running', 'waiting', 'ok', 'failed', 'aborted', 'denied'];

interface Held {
  readonly version: number;
  /** Number of requests so far. */
  readonly requests: number;
}

interface RequestsProps {
  readonly me: Me;
  readonly rows: LiveRows;
  /** Changes with each commit of new lines. */
  readonly version: ReadonlySignal<number>;
  readonly filter: RowFilter;
  readonly setFilter: (filter: RowFilter) => void;
}

/** The live list. It stands still while it is paused, and while the person points at it or reads on in it. */
export function Requests(props: RequestsProps): JSX.Element {
  const { me, rows, version, filter, setFilter } = props;
  const [pause, setPause] = useState<'asked' | 'reading' | null>(null);
  const [chosen, setChosen] = useState<Row | null>(null);
  /** The state of the log when the list was paused. */
  const [held, setHeld] = useState<Held | null>(null);
  const hold = (next: typeof pause) => {
    if (pause === null) setHeld({ version: version.peek(), requests: rows.requests });
    if (next === null) setHeld(null);
    setPause(next);
  };
  const reading = (isReading: boolean) => {
    if (isReading && pause === null) hold('reading');
    if (!isReading && pause === 'reading') hold(null);
  };
  return (
    <section aria-label="Requests">
      <div class="bar">
        <button
          type="button"
          class="quiet"
          aria-pressed={pause === 'asked'}
          onClick={() => hold(pause === null ? 'asked' : null)}
        >
          {pause === null ? 'Pause' : 'Resume'}
        </button>
        <Pace rows={rows} version={version} held={held} />
        <label class="end">
          <input
            type="checkbox"
            name="notes"
            onChange={({ currentTarget: { checked } }) => setFilter({ ...filter, notes: checked })}
          />{' '}
          Events too
        </label>
      </div>
      <Filters {...props} />
      <div
        onFocusIn={() => reading(true)}
        onFocusOut={({ currentTarget, relatedTarget }) =>
          reading(currentTarget.contains(relatedTarget as Node | null))
        }
        onPointerEnter={() => reading(true)}
        onPointerLeave={() => reading(false)}
        onScrollCapture={({ target }) => reading((target as Element).scrollTop > 8)}
      >
        <List rows={rows} version={version} held={held} filter={filter} choose={setChosen} />
      </div>
      {chosen !== null && <Details me={me} row={chosen} close={() => setChosen(null)} />}
    </section>
  );
}

/** Choices change seldom, and cost more than the rows: they are made at every twentieth commit. */
function Filters({ rows, version, filter, setFilter }: RequestsProps): JSX.Element {
  const era = useComputed(() => Math.ceil(version.value / 20));
  const [agents, hosts, grants] = useMemo(() => {
    const all = rows.rows({ notes: true });
    return (['agent', 'host', 'grant'] as const).map((name) =>
      [...new Set(all.flatMap((row) => row[name] ?? []))].toSorted().slice(0, 100),
    );
  }, [era.value]) as [string[], string[], string[]];
  const change = (name: keyof RowFilter) => (value: string) => setFilter({ ...filter, [name]: value });
  return (
    <form class="plain" style={grid} onSubmit={(event) => event.preventDefault()}>
      <Field
        label="Search"
        name="text"
        style={{ width: '100%' }}
        onInput={({ currentTarget: { value } }) => change('text')(value)}
      />
      <Choice label="Agent" name="agent" options={['', ...agents]} onChange={change('agent')} />
      <Choice label="Host" name="host" options={['', ...hosts]} onChange={change('host')} />
      <Choice
        label="Account"
        name="grant"
        options={[['', 'any'], ...grants.map((id) => [id, grantName(id)] as const)]}
        onChange={change('grant')}
      />
      <Choice label="Status" name="state" options={['', ...states]} onChange={change('state')} />
    </form>
  );
}

interface ListProps extends Pick<RequestsProps, 'rows' | 'version' | 'filter'> {
  readonly held: Held | null;
  readonly choose: (row: Row) => void;
}

function List({ rows, version, filter, held, choose }: ListProps): JSX.Element {
  const { value: current } = version;
  const shown = useMemo(() => rows.rows(filter), [held?.version ?? current, filter]);
  return (
    <Rows
      caption="Requests as they pass"
      headings={['Time', 'Status', 'Request', 'Agent', 'Account', 'Took']}
      columns="6rem 7.5rem minmax(12rem, 1fr) minmax(4rem, 7rem) minmax(4rem, 7.5rem) 4.5rem"
      source={{ entries: shown, isComplete: true, more() {} }}
      row={(row) => cellsOf(row, () => choose(row))}
      height="26rem"
      none={
        <Empty
          title={rows.requests === 0 ? 'No request has come lately.' : 'No request meets these conditions.'}
        >
          Rows appear as requests pass.
        </Empty>
      }
    />
  );
}

/** Requests since the pause, or in the last ten seconds. Screen readers hear it instead of the rows. */
function Pace({ rows, version, held }: Pick<ListProps, 'rows' | 'version' | 'held'>): JSX.Element {
  const [sentence, setSentence] = useState('Requests appear as they pass.');
  // Read at each commit only while it is shown.
  const fresh = held === null || version.value < 0 ? 0 : rows.requests - held.requests;
  useEffect(() => {
    let before: { requests: number; refused: number } | undefined;
    const timer = setInterval(() => {
      const { requests, refused } = rows;
      if (before !== undefined && before.requests <= requests)
        setSentence(
          `Last 10 seconds: ${(requests - before.requests).toLocaleString()} requests, ${refused - before.refused} refused.`,
        );
      before = { requests, refused };
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

function durationText(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

function requestText({ method, host = '', path: at = '', event, state }: Row): string {
  return state === 'note' ? event : `${method ?? ''} ${host}${at}`.trim();
}

/** The cells of a row. A narrow screen shows the first four. */
function cellsOf(row: Row, open: () => void): readonly JSX.Element[] {
  const { time, state, status, agent, grant, took, isRepeated } = row;
  return [
    <time dateTime={time}>{clock.format(new Date(time))}</time>,
    <>
      {state === 'ok' ? '' : <Badge state={state === 'note' ? 'event' : state} />} {status}
    </>,
    <button type="button" style={plain} onClick={open}>
      {requestText(row)}
    </button>,
    <>{agent ?? 'no agent'}</>,
    <>{grant === undefined ? '–' : grantName(grant)}</>,
    <>
      {took === undefined ? '' : durationText(took)}
      {isRepeated ? ' ↻' : ''}
    </>,
  ];
}

interface DetailsProps {
  readonly me: Me;
  readonly row: Row;
  readonly close: () => void;
}

/** A request in full, with what ends its agent or its lease. */
function Details({ me, row, close }: DetailsProps): JSX.Element {
  const [done, setDone] = useState('');
  const { agent, lease, grant, exchange = '', took, waited, isRepeated } = row;
  const isChanger = me.scopes.includes('access:write');
  const disable = async (name: string) => {
    await call(path`PATCH /v2/agents/${name}`, { disabled: true });
    setDone(`The agent ${name} is disabled.`);
  };
  const end = async (id: string) => {
    await call(path`POST /v2/leases/${id}/revoke`);
    setDone('The lease has ended.');
  };
  return (
    <section class="card" aria-label="Details" style={{ marginTop: '1rem' }}>
      <h2>{requestText(row)}</h2>
      <Facts
        of={{
          Status: `${row.state === 'note' ? 'event' : row.state}${row.status === undefined ? '' : ` (${row.status})`}`,
          Code: row.code,
          Time: <Time at={row.time} exact />,
          Agent: agent !== undefined && <a href={`#agents/${encodeURIComponent(agent)}`}>{agent}</a>,
          Account: grant !== undefined && <a href={`#accounts/${grant}`}>{grantName(grant)}</a>,
          Lease: lease,
          Reason: row.reason,
          Took:
            took === undefined ? '' : `${durationText(took)}${isRepeated ? ', with a refreshed token' : ''}`,
          'Waited for a person': waited > 0 && durationText(waited),
        }}
      />
      <p role="status">{done}</p>
      <div class="buttons">
        {exchange !== '' && (
          <a class="button quiet" href={`#audit/${exchange}`}>
            Whole record
          </a>
        )}
        {isChanger && agent !== undefined && (
          <Confirm
            label={`Disable ${agent}`}
            question={`Disable the agent ${agent}? Its token is refused and its leases end. You can enable it again.`}
            run={() => disable(agent)}
          />
        )}
        {isChanger && lease !== undefined && (
          <Confirm
            label="End the lease"
            question="End this lease? Requests with its token are refused."
            run={() => end(lease)}
          />
        )}
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </div>
    </section>
  );
}
