import { SidekeyError } from '../../errors.ts';
import type { Injected } from '../../inject/inject.ts';
import type { UpstreamConnection } from '../../upstream/connection.ts';
import type { RawFields } from '../fields.ts';
import { chunkEnd, chunkStart, lastChunk, trailerSection } from '../h1/chunk-writer.ts';
import type { BodyPlan } from '../../inject/body-plan.ts';

/** A body to be sent, as its head frames it. */
export interface UploadBody {
  readonly plan: BodyPlan;
  /** As it comes, or all of it; null: it has no byte. */
  readonly pieces: AsyncIterable<Buffer> | Buffer | null;
  /** Asked when all pieces have come. */
  readonly trailers: () => RawFields;
}

/** What a body is written to. */
export interface UploadTarget {
  /** False: it takes no more until it has drained. */
  write(piece: Buffer): boolean;
  /** All of it has been written. */
  end(trailers: RawFields): void;
}

/** The end of a body, before its trailers. */
const noMoreChunks = Buffer.from('0\r\n');
const noTrailers = Buffer.from(lastChunk);

/** A connection of HTTP/1.1, which is told where a body ends by how it is framed. */
export function framedFor({ kind }: BodyPlan, connection: UpstreamConnection): UploadTarget {
  if (kind !== 'chunked') return { write: (piece) => connection.write(piece), end() {} };
  return {
    write(piece) {
      connection.write(chunkStart(piece.length));
      connection.write(piece);
      return connection.write(chunkEnd);
    },
    end: (trailers) => void connection.write(endOf(trailers)),
  };
}

/** The body as it goes with the request: written anew while it streams, where its credential asks for that. */
export function rewrittenBody({ rewriteBody }: Injected, sent: UploadBody['pieces']): UploadBody['pieces'] {
  return rewriteBody === undefined ? sent : rewriteBody(listOf(sent));
}

/** Sends one request body to an upstream; reads no more of it than that takes. */
export class Upload {
  /** Whether all of it has been written. */
  isSent = false;
  /** Whether it waits for the next piece, and not for the upstream. */
  waitsForPiece = true;
  readonly #target: UploadTarget;
  #stopped = false;
  #drained: (() => void) | null = null;

  constructor(target: UploadTarget) {
    this.#target = target;
  }

  /**
   * Resolves when all is written, or it was stopped. Rejects with what the pieces fail with, and with SidekeyError
   * `bad_request` where they are not what was announced.
   *
   * @param progressed called when the upstream has been given something
   */
  async send({ plan, pieces, trailers }: UploadBody, progressed: () => void): Promise<void> {
    let bytes = 0;
    for await (const piece of listOf(pieces)) {
      if (this.#stopped) return;
      if (piece.length === 0) continue;
      bytes += piece.length;
      if (plan.kind === 'length' && bytes > plan.bytes) throw notAsLong();
      this.waitsForPiece = false;
      if (!this.#target.write(piece)) await this.#drain();
      if (this.#stopped) return;
      this.waitsForPiece = true;
      progressed();
    }
    if (this.#stopped) return;
    if (plan.kind === 'length' && bytes < plan.bytes) throw notAsLong();
    this.#target.end(trailers());
    this.waitsForPiece = false;
    this.isSent = true;
    progressed();
  }

  /** The upstream takes more. */
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

function listOf(pieces: UploadBody['pieces']): AsyncIterable<Buffer> | Iterable<Buffer> {
  if (pieces === null) return [];
  return Buffer.isBuffer(pieces) ? [pieces] : pieces;
}

function endOf(trailers: RawFields): Buffer {
  return trailers.length === 0 ? noTrailers : Buffer.concat([noMoreChunks, trailerSection(trailers)]);
}

function notAsLong(): SidekeyError {
  return new SidekeyError('bad_request', 'The request body is not as long as its Content-Length says.');
}
