import { type ReadonlySignal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call, follow, type PageProps } from './api.ts';
import { FirstSteps } from './first-steps.tsx';
import { createCommits, type Line, LiveRows, type RowFilter } from './live.ts';
import { OverTime } from './over-time.tsx';
import { Empty, Loaded } from './parts.tsx';
import { Requests } from './requests.tsx';
import { useResource, waiting } from './resource.ts';
import type { Me } from '../sdk/client/operations.ts';

/** Page "Now": requests as they pass, and the first steps of a person whose Sidekey has seen none. */

/** Milliseconds for which the stream of a hidden page stays open. */
const hiddenMs = 30_000;

interface Live {
  readonly rows: LiveRows;
  /** Changes with each commit of new lines. */
  readonly version: ReadonlySignal<number>;
}

/** Follows the audit log while the page is visible. */
function useLive(isAllowed: boolean, signal: AbortSignal): Live {
  const [rows] = useState(() => new LiveRows());
  const version = useSignal(0);
  useEffect(() => {
    if (!isAllowed) return undefined;
    const frames = { now: () => performance.now(), frame: requestAnimationFrame.bind(window) };
    const changed = createCommits(frames, () => (version.value += 1));
    let work: AbortController | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const open = () => {
      const mine = (work = new AbortController());
      rows.clear();
      const take = (data: string) => {
        rows.take(JSON.parse(data) as Line);
        changed();
      };
      const both = AbortSignal.any([mine.signal, signal]);
      void follow('/v2/audit/stream?lines=1000', both, take).then(() => {
        // The stream was refused: the session has ended, or the right.
        if (!both.aborted) location.reload();
      });
    };
    const close = () => {
      work?.abort();
      work = undefined;
    };
    const turned = () => {
      clearTimeout(timer);
      if (document.hidden) timer = setTimeout(close, hiddenMs);
      else if (work === undefined) open();
    };
    document.addEventListener('visibilitychange', turned);
    open();
    return () => {
      document.removeEventListener('visibilitychange', turned);
      clearTimeout(timer);
      close();
    };
  }, []);
  return { rows, version };
}

export function Now({ me, signal }: PageProps): JSX.Element {
  const isReader = me.scopes.includes('audit:read');
  const live = useLive(isReader, signal);
  const before = useResource(async (ending) =>
    isReader
      ? call<{ data: unknown[] }>('GET /v2/audit/events?event=outcome&limit=1', undefined, ending)
      : null,
  );
  const { value: count } = waiting;
  return (
    <>
      {count > 0 && (
        <p class="banner" role="status">
          <strong>
            {count === 1 ? 'A request waits for a person.' : `${count} requests wait for a person.`}
          </strong>
          <a href="#approvals">Answer</a>
        </p>
      )}
      <Loaded of={before} skeleton={8}>
        {(found) =>
          found === null ? (
            <Empty
              title="Requests are for operators and auditors."
              action={<a href="#approvals">Approvals</a>}
            />
          ) : (
            <Watched me={me} live={live} isEmpty={found.data.length === 0} />
          )
        }
      </Loaded>
    </>
  );
}

interface WatchedProps {
  readonly me: Me;
  readonly live: Live;
  /** True if the log had no request when the page was opened. */
  readonly isEmpty: boolean;
}

/** The first steps until the first request, and then the requests. */
function Watched({ me, live, isEmpty }: WatchedProps): JSX.Element {
  const [filter, setFilter] = useState<RowFilter>({});
  const [hasRequest, setRequest] = useState(!isEmpty);
  const { version, rows } = live;
  useEffect(() => version.subscribe(() => rows.requests > 0 && setRequest(true)), []);
  if (!hasRequest) return <FirstSteps changes={version} />;
  return (
    <>
      <Requests me={me} rows={rows} version={version} filter={filter} setFilter={setFilter} />
      <OverTime filter={filter} />
    </>
  );
}
