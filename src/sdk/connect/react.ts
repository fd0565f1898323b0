import { type ComponentProps, createElement, type ReactElement, useEffect, useRef, useState } from 'react';
import { connect, type ConnectFailure, type ConnectOptions, type ConnectResult } from './connect.ts';

/** The popup of a connect session for React, from version 18. */

export interface Connection {
  /** `idle` also after a popup that closed before a result. */
  readonly state: 'idle' | 'open' | 'connected' | 'failed';
  readonly result: ConnectResult | null;
  readonly error: ConnectFailure | null;
}

const idle: Connection = { state: 'idle', result: null, error: null };

/** Returns the state of the last popup, and `open`, the handler of a click. Unmounting closes the popup. */
export function useConnect(options: ConnectOptions): Connection & { readonly open: () => void } {
  const [connection, setConnection] = useState(idle);
  const popup = useRef<{ close(): void }>(null);
  // A callback sees the props of the last render, not those of the click.
  const latest = useRef(options);
  useEffect(() => void (latest.current = options));
  useEffect(() => () => popup.current?.close(), []);
  const open = () => {
    popup.current?.close();
    setConnection({ ...idle, state: 'open' });
    popup.current = connect({
      ...options,
      onSuccess(result) {
        setConnection({ ...idle, state: 'connected', result });
        latest.current.onSuccess?.(result);
      },
      onError(error) {
        setConnection({ ...idle, state: 'failed', error });
        latest.current.onError?.(error);
      },
      onExit() {
        setConnection(idle);
        latest.current.onExit?.();
      },
    });
  };
  return { ...connection, open };
}

type ButtonProps = Omit<ComponentProps<'button'>, keyof ConnectOptions | 'onClick'>;

/** A button that opens the popup. Further props are those of the button. */
export function ConnectButton(props: ConnectOptions & ButtonProps): ReactElement {
  const { sessionToken, baseUrl, onSuccess, onError, onExit, ...button } = props;
  const { open } = useConnect({ sessionToken, baseUrl, onSuccess, onError, onExit });
  return createElement('button', { type: 'button', ...button, onClick: open });
}
