import { signal } from '@preact/signals';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError } from './api.ts';

/** Values that pages read from the API while they are shown. */

/** Number of requests that wait for a person. The navigation and the title of the window show it. */
export const waiting = signal(0);

export interface Resource<T> {
  /** Last value. A reload keeps it until the next one. */
  readonly data: T | undefined;
  /** Failure of the last read. */
  readonly error: Error | undefined;
  readonly reload: () => Promise<void>;
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
  return { ...state, reload };
}
