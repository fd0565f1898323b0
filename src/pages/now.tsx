import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call, follow, may } from './api.ts';
import { FirstSteps } from './first-steps.tsx';
import { type Line, LiveRows, type RowFilter } from './live.ts';
import { OverTime } from './over-time.tsx';
import { Loaded } from './parts.tsx';
import { Requests } from './requests.tsx';
import { useResource, waiting } from './resource.ts';

/** Page "Now": requests as they pass, and the first steps of a person whose Sidekey has seen none. */

/** Milliseconds for which the stream of a hidden page stays open. */
const hiddenMs = 30_000;

/** Milliseconds between two times at which new lines are shown. */
const paceMs = 100;

/** Follows the audit log while the page is visible. */
function useLive(isAllowed: boolean): LiveRows {
  const [rows] = useState(() => new LiveRows());
  useEffect(() => {
    if (!isAllowed) return undefined;
    let closing: ReturnType<typeof setTimeout> | undefined;
    let isChanged = false;
    const show = () => {
      isChanged = false;
      rows.version.value += 1;
    };
    const open = () => {
      const work = new AbortController();
      rows.clear();
      void follow('/v2/audit/stream?lines=1000', work.signal, (data) => {
        rows.take(JSON.parse(data) as Line);
        if (!isChanged) setTimeout(show, paceMs);
        isChanged = true;
      }).then(() => {
        // The stream was refused: the session has ended, or the right.
        if (!work.signal.aborted) location.reload();
      });
      return work;
    };
    let stream = open();
    const turned = () => {
      clearTimeout(closing);
      if (document.hidden) closing = setTimeout(() => stream.abort(), hiddenMs);
      else if (stream.signal.aborted) stream = open();
    };
    document.addEventListener('visibilitychange', turned);
    return () => {
      document.removeEventListener('visibilitychange', turned);
      clearTimeout(closing);
      stream.abort();
    };
  }, []);
  return rows;
}

export function Now(): JSX.Element {
  const isReader = may('audit:read');
  const rows = useLive(isReader);
  const [filter, setFilter] = useState<RowFilter>({});
  // The log may have no request when the page is opened.
  const [hasRequest, setRequest] = useState(false);
  useEffect(() => rows.version.subscribe(() => rows.requests > 0 && setRequest(true)), []);
  const before = useResource(async (signal) => {
    const newest = 'GET /v2/audit/events?event=outcome&limit=1';
    return isReader && (await call<{ data: unknown[] }>(newest, undefined, signal)).data.length > 0;
  });
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
      {!isReader && (
        <p class="none">
          Requests are for operators and auditors. <a href="#approvals">Approvals</a>
        </p>
      )}
      <Loaded of={before} skeleton={8}>
        {(hadRequest) =>
          hadRequest || hasRequest ? (
            <>
              <Requests rows={rows} filter={filter} setFilter={setFilter} />
              <OverTime filter={filter} />
            </>
          ) : (
            isReader && <FirstSteps changes={rows.version} />
          )
        }
      </Loaded>
    </>
  );
}
