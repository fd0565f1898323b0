import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { AnswerReader } from './answer-reader.ts';

/** Target of the load. */
export interface LoadTarget {
  /** Null: straight to the upstream. */
  readonly proxyPort: number | null;
  readonly host: string;
  readonly port: number;
  /** PEM of what the client trusts. */
  readonly ca: string;
  /** `NAME:TOKEN` for the proxy; left out: it is asked for none. */
  readonly proxyUser?: string | undefined;
  /** Value of `Authorization` that the client sends. */
  readonly authorization?: string | undefined;
}

/** The request, and the expected response. */
export interface Question {
  /** The whole request, made once. */
  readonly request: Buffer;
  /** Bytes of the body that a right answer has. */
  readonly length: number;
}

/** A kept-alive connection that carries one exchange after the other. */
export interface Connection {
  readonly socket: TLSSocket;
  /** Asks, and calls back when the answer is whole; whether it was a right one. */
  ask(question: Question, onAnswer: (isRight: boolean) => void): void;
  /** Called if the connection ends before it is closed here. */
  onLoss: (error: Error) => void;
  /** The body of the next answers is kept for `takeBody`. */
  keepBodies(): void;
  takeBody(): Buffer;
  readonly status: number;
  close(): void;
}

/** A request as agents send it: a placeholder for the credential, and a handful of fields. */
export function questionOf(
  { host, port, authorization }: LoadTarget,
  path: string,
  length: number,
  body: Buffer | null = null,
): Question {
  const head = [
    `${body === null ? 'GET' : 'POST'} ${path} HTTP/1.1`,
    `Host: ${host}:${port}`,
    'User-Agent: example-sdk/4.12.0 (linux; x64)',
    'Accept: application/json',
    'Accept-Encoding: gzip, deflate, br',
    'Accept-Language: en-GB,en;q=0.9',
    ...(authorization === undefined ? [] : [`Authorization: ${authorization}`]),
    'X-Request-Id: 7b1d2c64-6b60-4c0a-9a55-0f5a4c1c2d3e',
    ...(body === null
      ? []
      : ['Content-Type: application/octet-stream', `Content-Length: ${body.length}`, '']),
    ...(body === null ? [''] : []),
    '',
  ].join('\r\n');
  return { request: body === null ? Buffer.from(head) : Buffer.concat([Buffer.from(head), body]), length };
}

/** Opens a connection as an agent would, for one exchange after the other. */
export async function openConnection(target: LoadTarget): Promise<Connection> {
  return exchangeOver(await openSocket(target));
}

/** CONNECT, then TLS inside it. */
export async function openSocket(
  target: LoadTarget,
  ALPNProtocols: readonly string[] = [],
): Promise<TLSSocket> {
  const { proxyPort, host, port, ca, proxyUser } = target;
  const tcp = connectTcp({ host: '127.0.0.1', port: proxyPort ?? port, noDelay: true });
  if (proxyPort !== null) {
    const user =
      proxyUser === undefined
        ? ''
        : `Proxy-Authorization: Basic ${Buffer.from(proxyUser).toString('base64')}\r\n`;
    tcp.write(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n${user}\r\n`);
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const onData = (chunk: Buffer) => {
        text += chunk.toString('latin1');
        if (!text.includes('\r\n\r\n')) return;
        tcp.off('data', onData).off('end', onEnd).pause();
        resolve(text);
      };
      const onEnd = () => reject(new Error('the connection ended instead of an answer to CONNECT'));
      tcp.on('data', onData).once('end', onEnd).once('error', reject);
    });
    if (!/^HTTP\/1\.[01] 200/.test(answer)) {
      tcp.destroy();
      throw new Error(`CONNECT was refused: ${answer.split('\r\n', 1)[0] ?? ''}`);
    }
  }
  const secureContext = contextOf(ca);
  const socket = connectTls({ socket: tcp, host, servername: host, secureContext, ALPNProtocols });
  await once(socket, 'secureConnect');
  return socket;
}

function exchangeOver(socket: TLSSocket): Connection {
  const reader = new AnswerReader();
  let bodies: Buffer[] = [];
  let expected = 0;
  let answered: ((isRight: boolean) => void) | null = null;
  const connection: Connection = {
    socket,
    ask({ request, length }, onAnswer) {
      expected = length;
      answered = onAnswer;
      socket.write(request);
    },
    onLoss: () => {},
    keepBodies() {
      reader.onBody = (piece) => bodies.push(Buffer.from(piece));
    },
    takeBody() {
      const body = Buffer.concat(bodies);
      bodies = [];
      return body;
    },
    get status() {
      return reader.status;
    },
    close() {
      connection.onLoss = () => {};
      socket.destroy();
    },
  };
  socket.on('data', (chunk: Buffer) => {
    try {
      if (!reader.feed(chunk)) return;
      const tell = answered;
      answered = null;
      if (tell === null) throw new Error('an answer to nothing came');
      tell(reader.status === 200 && reader.length === expected);
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  socket.on('error', (error) => connection.onLoss(error));
  socket.on('close', () => connection.onLoss(new Error('a connection was closed under load')));
  return connection;
}

const contexts = new Map<string, SecureContext>();

/** One for all connections that trust the same: making one costs more than a handshake. */
function contextOf(ca: string): SecureContext {
  let context = contexts.get(ca);
  if (context === undefined) contexts.set(ca, (context = createSecureContext({ ca })));
  return context;
}
