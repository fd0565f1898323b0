import { CR, endOfRun, inMethod, inTarget, LF, SP, spells, ZERO } from './bytes.ts';
import type { Fault } from './faults.ts';

const atBegin = 0;
const atEmptyLineFeed = 1;
const inMethodName = 2;
const inTargetText = 3;
const inVersion = 4;
const atLineFeed = 5;

/** First byte of a TLS record that holds a handshake (RFC 8446 §5.1). */
const tlsHandshake = 0x16;
const version = 'HTTP/1.';
/** No method that anybody uses is longer, and it is written into the audit file. */
const longestMethod = 32;

/**
 * Reads a request line (RFC 9112 §3), each byte once: single spaces, a version that is known, and nothing behind it. One
 * empty line before it is skipped (§2.2).
 */
export class RequestLine {
  /** How far it has read, from `base`; all offsets are counted from there. */
  at = 0;
  /** Where the method begins: behind the empty line, where there is one. */
  start = 0;
  methodEnd = 0;
  targetEnd = 0;
  /** The digit behind `HTTP/1.`. */
  minor = 0;
  #state = atBegin;
  #versionAt = 0;

  begin(): void {
    this.at = 0;
    this.start = 0;
    this.#state = atBegin;
  }

  /** See `FieldScanner.scan`. */
  scan(bytes: Buffer, base: number, stop: number): 'done' | 'more' | Fault {
    let at = base + this.at;
    let state = this.#state;
    while (at < stop) {
      if (state === atBegin) {
        if (bytes[at] === CR && at === base) {
          state = atEmptyLineFeed;
          at += 1;
          continue;
        }
        if (bytes[at] === tlsHandshake) return 'tls_handshake';
        this.start = at - base;
        state = inMethodName;
      } else if (state === atEmptyLineFeed) {
        if (bytes[at] !== LF) return 'bare_cr';
        state = atBegin;
        at += 1;
        continue;
      }
      if (state === inMethodName) {
        const most = Math.min(stop, base + this.start + longestMethod + 1);
        at = endOfRun(bytes, at, most, inMethod);
        const length = at - base - this.start;
        if (length > longestMethod) return 'bad_method';
        if (at === stop) break;
        if (bytes[at] !== SP || length === 0) return bytes[at] === LF ? 'bare_lf' : 'bad_method';
        // Of the preface of HTTP/2, and of nothing else (RFC 9113 §3.4).
        if (spells(bytes, base + this.start, at, 'pri')) return 'http2_preface';
        this.methodEnd = at - base;
        at += 1;
        state = inTargetText;
      }
      if (state === inTargetText) {
        at = endOfRun(bytes, at, stop, inTarget);
        if (at === stop) break;
        const isEmpty = at - base === this.methodEnd + 1;
        if (bytes[at] !== SP || isEmpty)
          return bytes[at] === CR && !isEmpty ? 'no_version' : faultIn(bytes[at]!);
        this.targetEnd = at - base;
        this.#versionAt = 0;
        at += 1;
        state = inVersion;
      }
      if (state === inVersion) {
        while (at < stop && this.#versionAt < version.length) {
          if (bytes[at] !== version.charCodeAt(this.#versionAt)) return 'unknown_version';
          this.#versionAt += 1;
          at += 1;
        }
        if (at === stop) break;
        if (this.#versionAt === version.length) {
          this.minor = bytes[at]! - ZERO;
          if (this.minor !== 0 && this.minor !== 1) return 'unknown_version';
          this.#versionAt += 1;
          at += 1;
          if (at === stop) break;
        }
        if (bytes[at] !== CR) return bytes[at] === LF ? 'bare_lf' : 'unknown_version';
        at += 1;
        state = atLineFeed;
        if (at === stop) break;
      }
      if (bytes[at] !== LF) return 'bare_cr';
      this.at = at + 1 - base;
      return 'done';
    }
    this.at = at - base;
    this.#state = state;
    return 'more';
  }
}

function faultIn(byte: number): Fault {
  if (byte > 0x7f) return 'raw_target';
  return byte === LF ? 'bare_lf' : 'bad_target';
}
