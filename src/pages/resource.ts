import { signal } from '@preact/signals';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { all, ApiError, call } from './api.ts';

/** Values that pages read from the API while they are shown. */

/** Number of requests that wait for a person. The navigation and the title of the window show it. */
export const waiting = signal(0);

export interface Resource<T> {
  /** Last value. A reload keeps it until the next one. */
  readonly data: T | undefined;
  /** Failure of the last read. */
  readonly error: Error | undefined;
  readonly reload: () => Promise<void>;
  /** Sends a request that changes the value, and reads it again: `DELETE /v2/people/alice`. */
  readonly change: <A>(what: string, body?: unknown) => Promise<A>;
}

type State<T> = Pick<Resource<T>, 'data' | 'error'>;

/**
 * Reads a value when the component appears, and again if a dependency changes. Drops the answer of an earlier
 * read. A session that has ended leads to the sign-in, and back to the same address.
 */
export function useResource<T>(
  read: (signal: AbortSignal) => Promise<T>,
  dependencies: readonly unknown[] = [],
): Resource<T> {
  const [state, setState] = useState<State<T>>({ data: undefined, error: undefined });
  const running = useRef<AbortController | undefined>(undefined);
  const reload = useCallback(async () => {
    running.current?.abort();
    const { signal } = (running.current = new AbortController());
    try {
      const data = await read(signal);
      if (!signal.aborted) setState({ data, error: undefined });
    } catch (thrown) {
      if (signal.aborted) return;
      const error = thrown as Error;
      if (error instanceof ApiError && error.status === 401) location.reload();
      else setState(({ data }) => ({ data, error }));
    }
  }, dependencies);
  useEffect(() => {
    void reload();
    return () => running.current?.abort();
  }, dependencies);
  const change = async <A>(what: string, body?: unknown) => {
    const answer = await call<A>(what, body);
    await reload();
    return answer;
  };
  return { ...state, reload, change };
}

/** Reads an answer of the API, and again if one of `causes` changes: `GET /v2/status`. */
export function useAnswer<T>(what: string, ...causes: readonly unknown[]): Resource<T> {
  return useResource((signal) => call<T>(what, undefined, signal), [what, ...causes]);
}

/** Reads a short list of the API, and again if one of `causes` changes: `/v2/people`. */
export function useAll<T>(path: string, ...causes: readonly unknown[]): Resource<readonly T[]> {
  return useResource((signal) => all<T>(path, signal), [path, ...causes]);
}

/** Returns a value after it has not changed for `ms` milliseconds. */
export function useSettled<T>(value: T, ms: number): T {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), ms);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
