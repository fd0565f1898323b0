import { CR } from '../h1/bytes.ts';

/** Bytes of a head that has not all come, in a buffer that grows: a head in small pieces is not copied over and over. */
export class PendingBytes {
  #buffer: Buffer | null = null;
  #size = 0;

  /** Whether there is no more than an empty line, as some clients send it behind a body. */
  get isBlank(): boolean {
    return this.#size <= 2 && (this.#buffer === null || this.#buffer[0] === CR);
  }

  /** All that is pending, this piece behind it. The buffer is not used again for other bytes. */
  with(piece: Buffer): Buffer {
    const before = this.#size;
    const size = before + piece.length;
    if (before === 0) return piece;
    if (this.#buffer === null || size > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(size, 2 * before));
      this.#buffer?.copy(larger, 0, 0, before);
      this.#buffer = larger;
    }
    piece.copy(this.#buffer, before);
    this.#size = size;
    return this.#buffer.subarray(0, size);
  }

  /** What of the bytes that `with` answered is still pending, from here on. */
  keep(bytes: Buffer, at: number): void {
    if (at === 0 && this.#size === bytes.length && this.#buffer !== null) return;
    this.#size = bytes.length - at;
    // The bytes of a message that went on may still be in use: they keep their buffer.
    this.#buffer = this.#size === 0 ? null : Buffer.from(bytes.subarray(at));
  }
}
