import { type ReadonlySignal, useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { call, path } from './api.ts';
import { RequestFacts } from './exchange.tsx';
import { grantName } from './grant-name.ts';
import { durationText, type LiveRows, requestOf, type Row, type RowFilter } from './live.ts';
import { Badge, Check, Choice, Confirm, Empty, Field } from './parts.tsx';
import { Rows } from './rows.tsx';
import type { Me } from '../sdk/client/operations.ts';

/** The list of requests as they pass, with its filter, and one request in full. */

/** A button that looks like a link, and is cut at the end of its cell. */
const linkStyle = {
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

const states = ['', 'running', 'waiting', 'ok', 'failed', 'aborted', 'denied'];

/** The state of the log when the list was paused. */
interface Pause {
  readonly by: 'button' | 'reading';
  readonly version: number;
  readonly requests: number;
}

interface LogProps {
  readonly rows: LiveRows;
  /** Changes with each commit of new lines. */
  readonly version: ReadonlySignal<number>;
}

interface FilterProps extends LogProps {
  readonly filter: RowFilter;
  readonly setFilter: (filter: RowFilter) => void;
}

/** The live list. It stands still while it is paused, and while the person points at it or reads on in it. */
export function Requests(props: FilterProps & { readonly me: Me }): JSX.Element {
  const { me, rows, version, filter, setFilter } = props;
  const [pause, setPause] = useState<Pause | null>(null);
  const [chosen, setChosen] = useState<Row | null>(null);
  const hold = (by: Pause['by']) => setPause({ by, version: version.peek(), requests: rows.requests });
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
        <Pace rows={rows} version={version} pause={pause} />
        <Check
          class="end"
          label="Events too"
          name="notes"
          onChange={(event) => setFilter({ ...filter, notes: event.currentTarget.checked })}
        />
      </div>
      <Filters {...props} />
      <div
        onFocusIn={() => reading(true)}
        onFocusOut={({ currentTarget, relatedTarget }) =>
          reading(currentTarget.contains(relatedTarget as Node | null))
        }
        onPointerOver={() => reading(true)}
        onPointerLeave={() => reading(false)}
        onScrollCapture={({ target }) => reading((target as Element).scrollTop > 8)}
      >
        <List rows={rows} version={version} pause={pause} filter={filter} choose={setChosen} />
      </div>
      {chosen !== null && <Details me={me} row={chosen} close={() => setChosen(null)} />}
    </section>
  );
}

/** Choices change seldom, and cost more than the rows: they are made at every twentieth commit. */
function Filters({ rows, version, filter, setFilter }: FilterProps): JSX.Element {
  const era = useComputed(() => Math.ceil(version.value / 20));
  const [agents, hosts, grants] = useMemo(() => {
    const all = rows.rows({ notes: true });
    return (['agent', 'host', 'grant'] as const).map((name) =>
      [...new Set(all.flatMap((row) => row[name] ?? []))].toSorted().slice(0, 100),
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

interface ListProps extends LogProps {
  readonly pause: Pause | null;
  readonly filter: RowFilter;
  readonly choose: (row: Row) => void;
}

function List({ rows, version, filter, pause, choose }: ListProps): JSX.Element {
  const { value: current } = version;
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
function Pace({ rows, version, pause }: LogProps & Pick<ListProps, 'pause'>): JSX.Element {
  const [sentence, setSentence] = useState('Requests appear as they pass.');
  // Reads the version only during a pause, so that only then each commit renders.
  const fresh = pause === null || version.value < 0 ? 0 : rows.requests - pause.requests;
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
    <button type="button" style={linkStyle} onClick={open}>
      {titleOf(row)}
    </button>,
    agent ?? 'no agent',
    grant === undefined ? '–' : grantName(grant),
    `${took === undefined ? '' : durationText(took)}${isRepeated ? ' ↻' : ''}`,
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
  const { agent, lease, exchange = '' } = row;
  const mayEnd = me.scopes.includes('access:write');
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
      <h2>{titleOf(row)}</h2>
      <RequestFacts of={row} />
      <p role="status">{done}</p>
      <div class="buttons">
        {exchange !== '' && (
          <a class="button quiet" href={path`#audit/${exchange}`}>
            Whole record
          </a>
        )}
        {mayEnd && agent !== undefined && (
          <Confirm
            label={`Disable ${agent}`}
            question={`Disable the agent ${agent}? Its token is refused and its leases end. You can enable it again.`}
            run={() => disable(agent)}
          />
        )}
        {mayEnd && lease !== undefined && (
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
