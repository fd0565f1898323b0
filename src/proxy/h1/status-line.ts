import { CR, endOfValue, LF, SP, ZERO } from './bytes.ts';
import type { Fault } from './faults.ts';

const inVersion = 0;
const inStatus = 1;
const behindStatus = 2;
const inReason = 3;
const atLineFeed = 4;

const version = 'HTTP/1.';
/** `HTTP/1.1` and a space. */
const statusAt = 9;
/** Where a reason begins, from `base`. */
export const reasonAt = 13;

/**
 * Reads a status line (RFC 9112 §4), each byte once. The space behind the status may be missing together with the reason,
 * as many servers write it.
 */
export class StatusLine {
  /** How far it has read, from `base`. */
  at = 0;
  status = 0;
  /** Where the reason ends, from `base`; it begins at `reasonAt`. */
  reasonEnd = 0;
  /** The digit behind `HTTP/1.`. */
  minor = 0;
  #state = inVersion;

  begin(): void {
    this.at = 0;
    this.status = 0;
    this.#state = inVersion;
  }

  /** See `FieldScanner.scan`. */
  scan(bytes: Buffer, base: number, stop: number): 'done' | 'more' | Fault {
    let at = base + this.at;
    let state = this.#state;
    while (at < stop) {
      if (state === inVersion) {
        for (; at < stop && at - base < statusAt; at += 1) {
          const fault = this.#version(bytes[at]!, at - base);
          if (fault !== null) return fault;
        }
        if (at === stop) break;
        state = inStatus;
      }
      if (state === inStatus) {
        for (; at < stop && at - base < statusAt + 3; at += 1) {
          const digit = bytes[at]! - ZERO;
          if (digit < 0 || digit > 9 || (digit === 0 && at - base === statusAt)) return 'bad_status';
          this.status = this.status * 10 + digit;
        }
        if (at === stop) break;
        state = behindStatus;
      }
      if (state === behindStatus) {
        const byte = bytes[at]!;
        if (byte !== SP && byte !== CR) return byte === LF ? 'bare_lf' : 'bad_status';
        if (byte === SP) at += 1;
        state = inReason;
      }
      if (state === inReason) {
        at = endOfValue(bytes, at, stop);
        if (at === stop) break;
        if (bytes[at] !== CR) return bytes[at] === LF ? 'bare_lf' : 'control_byte';
        this.reasonEnd = Math.max(reasonAt, at - base);
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

  /** What is wrong with a byte of `HTTP/1.1 `. */
  #version(byte: number, index: number): Fault | null {
    if (index < version.length) {
      if (byte === version.charCodeAt(index)) return null;
      return index < 5 ? 'no_version' : 'unknown_version';
    }
    if (index === version.length) {
      this.minor = byte - ZERO;
      return this.minor === 0 || this.minor === 1 ? null : 'unknown_version';
    }
    return byte === SP ? null : 'unknown_version';
  }
}
