import { lookup } from 'node:dns/promises';
import net, { type AddressInfo } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { listenFailure } from '../listen-failure.ts';

/** A socket that has its port, and on which workers take connections. Its owner takes none. */
export interface ListeningSocket {
  readonly address: AddressInfo;
  /** What goes to workers with a message, and what their servers listen on. */
  readonly handle: SocketHandle;
  /** Idempotent. Workers that have it keep it. */
  close(): void;
}

/** As `net.Server.listen` and `ChildProcess.send` take it. */
export interface SocketHandle {
  close(): void;
}

/** What Node's own cluster makes the sockets with that it shares. Its types do not say it. */
interface HandleMaker {
  readonly _createServerHandle: (
    address: string,
    port: number,
    family: 4 | 6,
  ) => (SocketHandle & Named) | number;
}

interface Named {
  /** Fills in the address; answers 0, or an error of the system as a negative number. */
  getsockname(into: object): number;
}

/**
 * Takes the port. Node's servers take connections as soon as they have one, and here only workers must, so this is
 * the handle below a server (decision 26).
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`
 */
export async function openListeningSocket(host: string, port: number): Promise<ListeningSocket> {
  const refuse = (code: string) =>
    listenFailure(Object.assign(new Error(code), { code }), { host, port, setting: 'proxy.listen' });
  const { address, family } = await lookup(host).catch((error: NodeJS.ErrnoException) => {
    throw refuse(error.code ?? 'unknown error');
  });
  const { _createServerHandle: bind } = net as unknown as HandleMaker;
  const handle = bind(address, port, family === 6 ? 6 : 4);
  if (typeof handle === 'number') throw refuse(getSystemErrorName(handle));
  const bound = {} as AddressInfo;
  // A port that another program has shows only here.
  const error = handle.getsockname(bound);
  if (error !== 0) {
    handle.close();
    throw refuse(getSystemErrorName(error));
  }
  let isOpen = true;
  return {
    address: bound,
    handle,
    close() {
      if (isOpen) handle.close();
      isOpen = false;
    },
  };
}
