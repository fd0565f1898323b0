import type { Transform } from 'node:stream';
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from 'node:zlib';

/** What takes a content coding off. Both ways no faster than the other end takes it. */
export interface Decoder {
  /** False: wait for `onDrain`. */
  write(piece: Buffer): boolean;
  onDrain(listener: () => void): void;
  /** All of it was written. */
  end(): void;
  pause(): void;
  resume(): void;
  destroy(): void;
}

/** Who is told what comes out. After `failed` nothing does. */
interface DecoderSink {
  decoded(piece: Buffer): void;
  ended(): void;
  /** What came is not what its coding says, has no end, or unfolds beyond all measure. */
  failed(error: Error): void;
}

/** One coding within another, of which more are an attack on whoever takes them off. */
const mostCodings = 3;

/** So many bytes may come out whatever went in; and from there on so many for each byte that went in. */
const plainBytes = 16_777_216;
const mostRatio = 200;

const makers: Readonly<Record<string, () => Transform>> = {
  gzip: () => createGunzip(),
  'x-gzip': () => createGunzip(),
  deflate: () => createInflate(),
  br: () => createBrotliDecompress(),
  // RFC 9659 §3: a window of 8 MB at most.
  zstd: () => createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: 23 } }),
};

/**
 * The codings of a `Content-Encoding`, in the order in which they were put on; without `identity`. Null: there is one that
 * nobody here takes off, or too many.
 *
 * @param values of each such field
 */
export function codingsOf(values: readonly string[]): readonly string[] | null {
  const codings = values
    .flatMap((value) => value.split(','))
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== 'identity' && coding !== '');
  const isKnown = codings.every((coding) => Object.hasOwn(makers, coding));
  return isKnown && codings.length <= mostCodings ? codings : null;
}

/** Takes them off, the last one first. @param codings as `codingsOf` has them; at least one */
export function createDecoder(codings: readonly string[], sink: DecoderSink): Decoder {
  const stages = codings.toReversed().map((coding) => makers[coding]!());
  const first = stages[0]!;
  const last = stages.at(-1)!;
  let bytesIn = 0;
  let bytesOut = 0;
  let isOver = false;
  const destroy = (): void => {
    isOver = true;
    for (const stage of stages) stage.destroy();
  };
  const fail = (error: Error): void => {
    if (isOver) return;
    destroy();
    sink.failed(error);
  };
  for (const [index, stage] of stages.entries()) {
    stage.on('error', fail);
    if (index > 0) stages[index - 1]!.pipe(stage);
  }
  last.on('data', (piece: Buffer) => {
    if (isOver) return;
    bytesOut += piece.length;
    if (bytesOut > plainBytes && bytesOut > bytesIn * mostRatio)
      fail(new Error('a coding unfolds beyond all measure'));
    else sink.decoded(piece);
  });
  last.once('end', () => {
    if (isOver) return;
    isOver = true;
    sink.ended();
  });
  return {
    write(piece) {
      bytesIn += piece.length;
      return isOver || first.write(piece);
    },
    onDrain: (listener) => void first.once('drain', listener),
    end: () => void (isOver || first.end()),
    pause: () => void last.pause(),
    resume: () => void last.resume(),
    destroy,
  };
}
