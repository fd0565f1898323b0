import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** Where the load goes. */
export interface LoadTarget {
  /** Null: straight to the upstream. */
  readonly proxyPort: number | null;
  readonly host: string;
  readonly port: number;
  /** PEM of what the client trusts. */
  readonly ca: string;
}

export interface LoadResult {
  readonly exchanges: number;
  readonly seconds: number;
  /** Of each exchange, in microseconds, sorted. */
  readonly latencies: Float64Array;
  /** Answers that were not 200. */
  readonly failures: number;
}

/** Keep-alive connections that each ask for the same thing again and again. */
export interface Load {
  run(seconds: number): Promise<LoadResult>;
  close(): void;
}

/**
 * Opens the connections (CONNECT, then TLS, as an agent would) and has them ready. The client speaks just enough
 * HTTP/1.1 to count answers, so that it leaves the machine to what is measured.
 */
export async function openLoad(target: LoadTarget, path: string, connections: number): Promise<Load> {
  const sockets = await Promise.all(Array.from({ length: connections }, () => openConnection(target)));
  const request = Buffer.from(
    `GET ${path} HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\nAccept: */*\r\n\r\n`,
  );
  return {
    async run(seconds) {
      const latencies: number[] = [];
      let failures = 0;
      const begin = performance.now();
      const end = begin + seconds * 1_000;
      await Promise.all(
        sockets.map((socket) =>
          drive(socket, request, (ok, startedAt) => {
            const now = performance.now();
            latencies.push((now - startedAt) * 1_000);
            if (!ok) failures += 1;
            return now < end;
          }),
        ),
      );
      const elapsed = (performance.now() - begin) / 1_000;
      return {
        exchanges: latencies.length,
        seconds: elapsed,
        latencies: Float64Array.from(latencies).toSorted(),
        failures,
      };
    },
    close() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** One exchange after the other on one connection, until `onAnswer` says that it is enough. */
function drive(
  socket: Socket,
  request: Buffer,
  onAnswer: (ok: boolean, startedAt: number) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let startedAt = performance.now();
    let missing = -1;
    let ok = false;
    const onData = (chunk: Buffer) => {
      if (missing < 0) {
        const headEnd = chunk.indexOf('\r\n\r\n');
        if (headEnd < 0) return stop(new Error('the head of an answer came in pieces'));
        const head = chunk.toString('latin1', 0, headEnd);
        ok = head.startsWith('HTTP/1.1 200');
        missing =
          Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN) - (chunk.length - headEnd - 4);
        if (Number.isNaN(missing)) return stop(new Error(`an answer without a length: ${head}`));
      } else {
        missing -= chunk.length;
      }
      if (missing > 0) return;
      missing = -1;
      if (!onAnswer(ok, startedAt)) return stop();
      startedAt = performance.now();
      socket.write(request);
    };
    const onClose = () => stop(new Error('a connection was closed under load'));
    const stop = (error?: Error) => {
      socket.off('data', onData).off('close', onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    socket.on('data', onData).once('close', onClose);
    socket.write(request);
  });
}

/** A CONNECT where there is a proxy, and TLS. */
export async function openConnection({ proxyPort, host, port, ca }: LoadTarget): Promise<Socket> {
  const tcp = connectTcp({ host: '127.0.0.1', port: proxyPort ?? port, noDelay: true });
  if (proxyPort !== null) {
    tcp.write(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
    const answer = await new Promise<string>((resolve, reject) => {
      tcp.once('data', (chunk) => resolve(chunk.toString('latin1'))).once('error', reject);
    });
    if (!answer.startsWith('HTTP/1.1 200'))
      throw new Error(`CONNECT was refused: ${answer.split('\r\n', 1)[0] ?? ''}`);
  }
  const socket = connectTls({ socket: tcp, host, servername: host, ca });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve).once('error', reject);
  });
  return socket;
}
