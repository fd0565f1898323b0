/** Bytes that a session may spend on nothing: at its beginning, and each second. */
const initialBytes = 131_072;
const bytesEachSecond = 32_768;
/** What is worth so many bytes of a client besides itself: frames around it, records of TLS, resets, windows, pings. */
const requestWorth = 512;
const pieceWorth = 96;

/** What went through one session so far. */
export interface SessionTraffic {
  /** Bytes that were read off the connection, frames and all. */
  readonly read: number;
  /** Of bodies, from the client and to it: bytes, and pieces both ways. */
  readonly bodyIn: number;
  readonly bodyOut: number;
  readonly pieces: number;
  /** Requests that were read, and the bytes of their heads as they are without compression. */
  readonly requests: number;
  readonly heads: number;
}

/**
 * Whether a client of HTTP/2 sends more than what it asks for explains: PING, SETTINGS and WINDOW_UPDATE without end, heads
 * that are refused for their size, frames of no use (CVE-2019-9512 and CVE-2019-9515 among others). The library has
 * guards for some kinds of frames; this counts what is left, whatever it is.
 *
 * @param ageMs of the session
 */
export function isFlood(traffic: SessionTraffic, ageMs: number): boolean {
  const { read, bodyIn, bodyOut, pieces, requests, heads } = traffic;
  const forFree = initialBytes + (ageMs / 1_000) * bytesEachSecond;
  // A body that goes out is acknowledged piece by piece, and its pieces have 16 KB and less each on the wire.
  const bodies = 1.25 * bodyIn + bodyOut / 64 + pieceWorth * pieces;
  return read > forFree + bodies + 2 * heads + requestWorth * requests;
}
