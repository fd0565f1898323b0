import type { ComponentChildren, JSX } from 'preact';
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { type Listing, more } from './api.ts';
import { Loaded, Table, type TableProps } from './parts.tsx';
import { Action, Failure } from './remedy.tsx';
import { type Resource, useResource } from './resource.ts';

/** Long lists: only the rows in view are elements. All rows have one height. */

/** Rows that a list shows, in their order. */
interface Source<T> {
  readonly entries: readonly T[];
  /** True if no more entries follow. */
  readonly isComplete: boolean;
  readonly error?: Error | undefined;
  /** Reads the entries that follow. */
  more(): void;
}

type Pages<T> = Source<T> & Resource<readonly T[]>;

interface Place<T> {
  /** The entries read so far. */
  last: Listing<T> | undefined;
  /** The entries that the next read follows; undefined: it begins anew. */
  before: Listing<T> | undefined;
  isBusy: boolean;
}

/** Reads a list by pages of 200: `/v2/grants?start=name`. */
export function usePages<T>(path: string): Pages<T> {
  // `last` is newer than the last render, which may call `more` after an answer has come.
  const place = useMemo<Place<T>>(() => ({ last: undefined, before: undefined, isBusy: true }), [path]);
  const list = useResource(
    async (signal) => {
      const { before } = place;
      Object.assign(place, { before: undefined, isBusy: true });
      try {
        return (place.last = await more<T>(path, before, signal));
      } finally {
        place.isBusy &&= signal.aborted;
      }
    },
    [path],
  );
  const { entries } = list.data ?? {};
  return {
    ...list,
    entries: entries ?? [],
    data: entries,
    isComplete: list.data?.next === null,
    more() {
      if (place.isBusy || place.last?.next === null) return;
      place.before = place.last;
      void list.reload();
    },
  };
}

interface ListedProps<T> extends Omit<TableProps, 'rows'> {
  readonly of: Pages<T>;
  readonly row: (entry: T) => readonly ComponentChildren[];
}

/** A list of the API as a table, with a button that shows its next page. */
export function Listed<T>({ of, row, ...table }: ListedProps<T>): JSX.Element {
  return (
    <Loaded of={of} skeleton={3}>
      {(entries) => (
        <>
          <Table {...table} rows={entries.map(row)} />
          {!of.isComplete && <Action label="Show more" kind="quiet" run={() => of.more()} />}
        </>
      )}
    </Loaded>
  );
}

interface RowsProps<T> {
  readonly caption: string;
  readonly headings: readonly string[];
  /** Widths of the columns, as `grid-template-columns`. A narrow screen shows the first four cells. */
  readonly columns: string;
  readonly source: Source<T>;
  readonly row: (entry: T, index: number) => readonly ComponentChildren[];
  /** Maximum height of the list, as CSS; absent: what the window has left. */
  readonly height?: string;
  /** Shown instead of an empty list. */
  readonly none: ComponentChildren;
}

/** Rows above and below the view that are elements. */
const margin = 8;

/** A list of any length. */
export function Rows<T>({
  caption,
  headings,
  columns,
  source,
  row,
  height,
  none,
}: RowsProps<T>): JSX.Element {
  const scroller = useRef<HTMLDivElement>(null);
  const [{ top, view, each }, setPlace] = useState({ top: 0, view: innerHeight, each: 40 });
  const { entries, isComplete, error } = source;
  const measure = () => {
    const element = scroller.current;
    if (element === null) return;
    const first = element.querySelector<HTMLElement>('.row:not(.head)');
    setPlace({ top: element.scrollTop, view: innerHeight, each: first?.offsetHeight || 40 });
  };
  useLayoutEffect(() => {
    measure();
    addEventListener('resize', measure);
    return () => removeEventListener('resize', measure);
  }, [entries.length > 0]);
  const first = Math.max(0, Math.floor(top / each) - margin);
  const last = Math.min(entries.length, Math.ceil((top + view) / each) + margin);
  // After each render, because a read may have been in progress at the one before; and before the next one.
  useLayoutEffect(() => {
    if (!isComplete && error === undefined && last >= entries.length * 0.8) source.more();
  });
  const style = { gridTemplateColumns: columns };
  if (error !== undefined && entries.length === 0) return <Failure error={error} />;
  if (isComplete && entries.length === 0) return <>{none}</>;
  return (
    <div
      class="rows"
      role="region"
      aria-label={caption}
      tabIndex={0}
      ref={scroller}
      onScroll={measure}
      style={height === undefined ? {} : { maxHeight: height }}
    >
      <div role="table" aria-label={caption} aria-rowcount={isComplete ? entries.length + 1 : -1}>
        <div role="rowgroup">
          <div class="row head" role="row" aria-rowindex={1} style={style}>
            {headings.map((heading) => (
              <span key={heading} role="columnheader">
                {heading}
              </span>
            ))}
          </div>
        </div>
        <div
          role="rowgroup"
          style={{ paddingTop: `${first * each}px`, paddingBottom: `${(entries.length - last) * each}px` }}
        >
          {entries.slice(first, last).map((entry, index) => (
            <div key={first + index} class="row" role="row" aria-rowindex={first + index + 2} style={style}>
              {row(entry, first + index).map((cell, column) => (
                <span key={column} role="cell">
                  {cell}
                </span>
              ))}
            </div>
          ))}
        </div>
      </div>
      {error !== undefined && (
        <Failure error={error}>
          <Action label="Try again" kind="quiet" run={() => source.more()} />
        </Failure>
      )}
    </div>
  );
}
