import { lookup } from 'node:dns/promises';
import net, { type AddressInfo, isIP } from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { AuditEvent } from '../domain/event.ts';
import { type FailureCode } from '../lib/failures.ts';
import { listenFailure, SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../lib/hint.ts';
import type { Figure } from '../proxy/telemetry/figures.ts';

/** A bound socket. Only workers accept its connections. */
export type ListeningSocket = ReturnType<typeof named>;

/** Handle for `net.Server.listen` and `ChildProcess.send`. */
export interface SocketHandle {
  close(): void;
}

/** Function of `node:net` that `node:cluster` binds its shared sockets with; not in Node's types. */
interface HandleMaker {
  readonly _createServerHandle: (
    address: string | null,
    port: number,
    family: 4 | 6 | -1,
    descriptor?: number,
  ) => (SocketHandle & Named) | number;
}

interface Named {
  /** Fills in the address. Returns 0, or a system error as a negative number. */
  getsockname(into: object): number;
}

/**
 * Binds the port without accepting connections, because only workers may accept them. Uses a bare handle,
 * because a server of Node accepts connections at once (decision 26).
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`
 */
export async function openListeningSocket(host: string, port: number): Promise<ListeningSocket> {
  const refuse = (code: string) =>
    listenFailure(Object.assign(new Error(code), { code }), { host, port, setting: 'proxy.listen' });
  const { address, family } = await lookup(host).catch((error: NodeJS.ErrnoException) => {
    throw refuse(error.code ?? 'unknown error');
  });
  return named(makeHandle(address, port, family === 6 ? 6 : 4), refuse);
}

const { _createServerHandle: makeHandle } = net as unknown as HandleMaker;

/** The descriptor of the first socket that a service manager passes (sd_listen_fds(3)). */
const firstPassed = 3;

/**
 * Returns the socket that a service manager bound and passed to this process; null: none. A systemd `.socket`
 * unit keeps it over a restart, so connections wait instead of being refused.
 *
 * @throws SidekeyError `listen_failed` if the socket is not the one that `proxy.listen` names
 */
export function passedSocket(
  { host, port }: { readonly host: string; readonly port: number },
  env: NodeJS.ProcessEnv,
): ListeningSocket | null {
  if (env['LISTEN_PID'] !== String(process.pid)) return null;
  if (env['LISTEN_FDS'] !== '1') throw unusable(`${env['LISTEN_FDS']} sockets instead of one`);
  const socket = named(makeHandle(null, 0, -1, firstPassed), unusable);
  const passed = socket.address;
  // A name in `proxy.listen`, such as localhost, has several addresses.
  if (passed.port === port && (isIP(host) === 0 || passed.address === host)) return socket;
  socket.close();
  throw unusable(`${passed.address}:${passed.port}, and proxy.listen is ${host}:${port}`);
}

function unusable(reason: string): SidekeyError {
  return new SidekeyError(
    'listen_failed',
    `The service manager passed a socket that cannot be used (${reason}).`,
    { hint: hintOf`"${remedy('service.install')}" writes the service again` },
  );
}

/** Returns a handle with its address. Closes the handle if the socket is not bound. */
function named(handle: (SocketHandle & Named) | number, refuse: (code: string) => SidekeyError) {
  if (typeof handle === 'number') throw refuse(getSystemErrorName(handle));
  const address = {} as AddressInfo;
  // This call reports a port in use, instead of bind.
  const error = handle.getsockname(address);
  if (error !== 0) {
    handle.close();
    throw refuse(getSystemErrorName(error));
  }
  let isOpen = true;
  return {
    address,
    /** Handle to send to workers, whose servers listen on it. */
    handle,
    /** Closes this process's handle; workers keep theirs. Idempotent. */
    close(): void {
      if (isOpen) handle.close();
      isOpen = false;
    },
  };
}

/** Approval pages, which the supervisor serves. */
export interface Pages {
  /** Base URL of links; null: no listener. */
  readonly url: string | null;
  readonly port: number | null;
}

/** Messages of the supervisor. `serve` carries the listening socket. */
export type ToWorker =
  | {
      readonly kind: 'serve';
      readonly file: string;
      /** Config text in force. The file may now hold an invalid one. */
      readonly text: string;
      readonly pages: Pages;
      /** Key material of TLS session tickets: a client may reconnect to another worker. */
      readonly ticketMaterial: Uint8Array;
      /** Accepts redirected connections, even if the config does not. */
      readonly transparent: boolean;
    }
  /** Check all pages of this SQLite file, instead of serving. The answer is `ready` or `failed`. */
  | { readonly kind: 'check'; readonly path: string }
  /** Reload the config file. */
  | { readonly kind: 'reload' }
  /** Send the figures. */
  | { readonly kind: 'read' }
  /** Drain for `limits.drain` and exit. */
  | { readonly kind: 'stop' };

/** Messages of a worker. */
export type ToSupervisor =
  /** The worker serves, and the message carries a handle of the listening socket; or its check is done. */
  | { readonly kind: 'ready' }
  /** The worker could not start. */
  | {
      readonly kind: 'failed';
      readonly code: FailureCode;
      readonly message: string;
      readonly hint: Hint | undefined;
    }
  /** The worker has applied or refused a config. */
  | { readonly kind: 'config'; readonly event: AuditEvent }
  /** Requests got credentials. Sent periodically. */
  | { readonly kind: 'used' }
  /** The body of a request that waits for a person; null: it no longer waits. */
  | { readonly kind: 'body'; readonly id: string; readonly body: string | null }
  /** The answer to `read`. */
  | { readonly kind: 'figures'; readonly figures: readonly Figure[] }
  /** The worker got SIGTERM and accepts no more connections. */
  | { readonly kind: 'leaving' };
