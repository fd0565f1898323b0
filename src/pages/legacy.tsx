import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, type Me, type View } from './api.ts';
import { Failure } from './remedy.tsx';

interface LegacyProps {
  readonly view: View;
  readonly me: Me;
  readonly signal: AbortSignal;
}

/** A page that is not ported to Preact yet. */
export function Legacy({ view, me, signal }: LegacyProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    view(box.current!, me, signal).catch((thrown: unknown) => {
      if (thrown instanceof ApiError && thrown.status === 401) location.reload();
      else if (!signal.aborted) setError(thrown);
    });
  }, []);
  return error === null ? <div ref={box} /> : <Failure error={error} />;
}
