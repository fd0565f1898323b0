/** What lines of the audit log are shipped to, besides the file. */
import type { Socket } from 'node:net';
import type { ReadLine } from '../read-on.ts';

/** Lines that are delivered together. */
export interface SinkBatch {
  readonly lines: readonly ReadLine[];
  /** The place of the first line in the log: the same whenever the same lines are sent again. */
  readonly id: string;
}

/** A way to deliver. It has no memory of its own: what was not delivered is read from the file again. */
export interface Sink {
  /**
   * Delivers all lines of the batch.
   * @throws SinkFailure, or whatever went wrong: then the batch comes again
   */
  deliver(batch: SinkBatch, signal: AbortSignal): Promise<void>;
  /** Closes what is open. */
  close(): void;
}

/** What kept a batch from being delivered. Its message is shown to people, so it holds no secret. */
export class SinkFailure extends Error {
  override readonly name = 'SinkFailure';
  /** How long to wait at least, in milliseconds, where the receiver said so (RFC 9110 §10.2.3). */
  readonly retryAfterMs: number | undefined;
  /** The batch is larger than the receiver takes. */
  readonly tooLarge: boolean;

  constructor(
    message: string,
    options: { retryAfterMs?: number | undefined; tooLarge?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
    this.tooLarge = options.tooLarge ?? false;
  }
}

/** UDP to one address that was checked. */
export interface Datagrams {
  send(message: Uint8Array): Promise<void>;
  close(): void;
}

/** The ways out that sinks are handed; all of them but the last two go through the guard of addresses. */
export interface SinkExits {
  readonly fetch: typeof fetch;
  readonly connect: (host: string, port: number, tls: boolean) => Promise<Socket>;
  readonly openDatagrams: (host: string, port: number) => Promise<Datagrams>;
  /** A stream socket of this machine, by its path. */
  readonly connectLocal: (path: string) => Promise<Socket>;
  /** Resolves when the text has left the process. */
  readonly writeStdout: (text: string) => Promise<void>;
}
