import type { Socket } from 'node:net';
import { readPlain, type PlainRequest } from './strict-request.ts';
import { startRawPlainUpstream, startRawUpstream, type Upstream } from './upstream.ts';

/** The bytes that one connection of a proxy received. */
export interface Recorded {
  /** All bytes, one character each. */
  readonly text: string;
  /** The complete requests. */
  readonly requests: readonly PlainRequest[];
  /** The bytes after the last complete request. */
  readonly rest: string;
  /** The reason why the bytes have two interpretations; null: none. */
  readonly problem: string | null;
  readonly isOpen: boolean;
}

export interface RecordingUpstream extends Upstream {
  /** All connections, in order. */
  readonly recorded: readonly Recorded[];
  /** Resolves when every connection with an incomplete request has been closed. */
  settled(): Promise<void>;
}

/** Answers each complete request with its path, and records every byte. */
export async function startRecording(scheme: 'http' | 'https'): Promise<RecordingUpstream> {
  const recorded: Recording[] = [];
  const record = (socket: Socket) => void recorded.push(new Recording(socket));
  const upstream = await (scheme === 'https' ? startRawUpstream(record) : startRawPlainUpstream(record));
  return {
    ...upstream,
    recorded,
    async settled() {
      await Promise.all(recorded.filter(({ rest }) => rest !== '').map(({ closed }) => closed));
    },
  };
}

class Recording implements Recorded {
  text = '';
  rest = '';
  problem: string | null = null;
  isOpen = true;
  readonly requests: PlainRequest[] = [];
  readonly closed: Promise<void>;

  constructor(socket: Socket) {
    socket.on('data', (piece: Buffer) => this.#read(piece.toString('latin1'), socket));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isOpen = false;
        resolve();
      });
    });
  }

  #read(piece: string, socket: Socket): void {
    this.text += piece;
    this.rest += piece;
    try {
      for (let it = readPlain(this.rest); it !== null; it = readPlain(this.rest)) {
        this.rest = this.rest.slice(it.size);
        this.requests.push(it);
        const body = it.method === 'HEAD' ? '' : it.path;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${it.path.length}\r\n\r\n${body}`, 'latin1');
        if (this.rest === '') break;
      }
    } catch (error) {
      this.problem = String(error);
      socket.destroy();
    }
  }
}
