import type { Socket } from 'node:net';
import { readPlain, type PlainRequest } from './strict-request.ts';
import { startRawPlainUpstream, startRawUpstream, type Upstream } from './upstream.ts';

/** What came on one connection of a proxy. */
export interface Recorded {
  /** All its bytes, a character each. */
  readonly text: string;
  /** The requests that came whole. */
  readonly requests: readonly PlainRequest[];
  /** What stands behind the last of them. */
  readonly rest: string;
  /** Not null: it holds what can be read in two ways. */
  readonly problem: string | null;
  readonly isOpen: boolean;
}

export interface RecordingUpstream extends Upstream {
  /** All connections, in their order. */
  readonly recorded: readonly Recorded[];
  /** Resolves when every connection on which a request is not whole has been closed. */
  settled(): Promise<void>;
}

/** Answers each whole request with its path, and keeps every byte that comes. */
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
