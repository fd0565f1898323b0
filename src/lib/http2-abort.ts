import type { Http2Stream } from 'node:http2';

/**
 * Resets a stream whose message is incomplete. By itself Node ends the body when it closes a stream. An incomplete body would
 * look complete, and an assertion in `Http2Stream::OnTrailers` could end the process.
 */
export function resetStream(stream: Http2Stream, code: number): void {
  // oxlint-disable-next-line no-underscore-dangle -- the name that Node gives it
  stream._final = (done) => done();
  stream.close(code);
}

/** A signal that the client left before its response was complete. */
export interface Gone {
  readonly already: boolean;
  /** Adds a listener, which is called once. */
  listen(listener: () => void): void;
  forget(listener: () => void): void;
}

/** Creates a signal. It costs a tenth of an AbortController, which took 10 of 120 µs of CPU of each exchange. */
export function createGone(): Gone & { tell(): void } {
  return new GoneSignal();
}

class GoneSignal implements Gone {
  already = false;
  #listeners: readonly (() => void)[] = nobody;

  listen(listener: () => void): void {
    this.#listeners = [...this.#listeners, listener];
  }

  forget(listener: () => void): void {
    this.#listeners = this.#listeners.filter((candidate) => candidate !== listener);
  }

  tell(): void {
    if (this.already) return;
    this.already = true;
    for (const listener of this.#listeners) listener();
  }
}

const nobody: readonly (() => void)[] = [];
