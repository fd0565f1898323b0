import type { Http2Stream } from 'node:http2';

/**
 * Resets a stream whose message is not whole. Node ends the body when it closes a stream, and where the session waits for
 * its socket does so when the stream is destroyed: an assertion in `Http2Stream::OnTrailers` then ends the process. And
 * half a body is not to look like a whole one.
 */
export function giveUp(stream: Http2Stream, code: number): void {
  // oxlint-disable-next-line no-underscore-dangle -- the name that Node gives it
  stream._final = (done) => done();
  stream.close(code);
}
