import { SidekeyError } from '../../errors.ts';
import type { UpstreamConnection } from '../../upstream/connection.ts';
import type { RawFields } from '../fields.ts';
import { chunkOf, lastChunk, trailerSection } from '../h1/chunk-writer.ts';
import type { BodyPlan } from '../message.ts';

/** A body to be sent, as its head frames it. */
export interface UploadBody {
  readonly plan: BodyPlan;
  readonly pieces: AsyncIterable<Buffer> | Iterable<Buffer>;
  /** Asked when all pieces have come. */
  readonly trailers: () => RawFields;
}

/** The end of a body, before its trailers. */
const noMoreChunks = Buffer.from('0\r\n');
const noTrailers = Buffer.from(lastChunk);

/** Sends one request body over a connection; reads no more of it than the connection takes. */
export class Upload {
  /** Whether all of it has been written. */
  isSent = false;
  /** Whether it waits for the next piece, and not for the upstream. */
  waitsForPiece = true;
  readonly #connection: UpstreamConnection;
  #stopped = false;
  #drained: (() => void) | null = null;

  constructor(connection: UpstreamConnection) {
    this.#connection = connection;
  }

  /**
   * Resolves when all is written, or it was stopped. Rejects with what the pieces fail with, and with SidekeyError
   * `bad_request` where they are not what was announced.
   *
   * @param progressed called when the upstream has been given something
   */
  async send({ plan, pieces, trailers }: UploadBody, progressed: () => void): Promise<void> {
    let bytes = 0;
    for await (const piece of pieces) {
      if (this.#stopped) return;
      if (piece.length === 0) continue;
      bytes += piece.length;
      if (plan.kind === 'length' && bytes > plan.bytes) throw notAsLong();
      this.waitsForPiece = false;
      if (!this.#connection.write(plan.kind === 'chunked' ? chunkOf(piece) : piece)) await this.#drain();
      if (this.#stopped) return;
      this.waitsForPiece = true;
      progressed();
    }
    if (this.#stopped) return;
    if (plan.kind === 'length' && bytes < plan.bytes) throw notAsLong();
    if (plan.kind === 'chunked') this.#connection.write(endOf(trailers()));
    this.waitsForPiece = false;
    this.isSent = true;
    progressed();
  }

  /** The connection takes more. */
  drained(): void {
    this.#drained?.();
    this.#drained = null;
  }

  /** Sends nothing more. */
  stop(): void {
    this.#stopped = true;
    this.drained();
  }

  #drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }
}

function endOf(trailers: RawFields): Buffer {
  return trailers.length === 0 ? noTrailers : Buffer.concat([noMoreChunks, trailerSection(trailers)]);
}

function notAsLong(): SidekeyError {
  return new SidekeyError('bad_request', 'The request body is not as long as its Content-Length says.');
}
