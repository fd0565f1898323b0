import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { ConnectionUser, UpstreamConnection } from '../../../../src/proxy/upstream/h1-connection.ts';

/** A user of connections that keeps what it is told. */
export interface RecordingUser extends ConnectionUser {
  readonly told: string[];
  /** The connection, once there is one; rejects where there is none to be had. */
  readonly connection: Promise<UpstreamConnection>;
  /** Resolves when it is told something that begins so. */
  until(beginning: string): Promise<void>;
}

export function recordingUser(owner = ''): RecordingUser {
  const told: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamConnection>();
  promise.catch(() => {});
  let waiting: (() => void)[] = [];
  const tell = (what: string) => {
    told.push(what);
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  };
  return {
    owner,
    told,
    connection: promise,
    connected(connection) {
      tell('connected');
      resolve(connection);
    },
    unconnected(error) {
      tell(`unconnected ${'code' in error ? String(error.code) : error.message}`);
      reject(error);
    },
    received: (bytes, end) => tell(bytes.toString('latin1', 0, end)),
    drained: () => tell('drained'),
    expired: () => tell('expired'),
    ended: () => tell('ended'),
    lost: (error) => tell(`lost ${error.message}`),
    async until(beginning) {
      while (!told.some((it) => it.startsWith(beginning)))
        await new Promise<void>((wake) => void waiting.push(wake));
    },
  };
}

/** Sends a line and resolves when the answer has come. */
export async function ask(user: RecordingUser, text: string): Promise<UpstreamConnection> {
  const connection = await user.connection;
  connection.write(Buffer.from(text));
  await user.until(`echo ${text}`);
  return connection;
}

/** Says back what it hears. */
export function echo(socket: Socket): void {
  socket
    .on('data', (chunk: Buffer) => socket.write(`echo ${chunk.toString()}`))
    .on('end', () => socket.end());
}

/** Waits until connections released in this turn are available. */
export async function nextTurn(): Promise<void> {
  for (let i = 0; i < 2; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Resolves when the other side is closed. */
export async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket.resume(), 'close');
}
