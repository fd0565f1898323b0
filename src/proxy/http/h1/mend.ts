import { type RawFields, valuesOf, withoutFields } from '../fields.ts';
import { isFieldName } from '../../policy/text.ts';
import { hasResponseBody } from '../framing.ts';
import type { ResponseHeadBytes } from '../head.ts';
import { createResponseReader, type HeadReader } from './read-head.ts';
import { type Fault, type HeadLimits, Malformed } from './scan.ts';
import { ownHead } from './write.ts';

/**
 * Repairs of responses, as RFC 9112 lets a proxy make them. A repaired head is written anew, and read again
 * by the strict reader. Its connection must not be used again. Requests are never repaired.
 */

const repairable: ReadonlySet<string> = new Set<Fault>([
  // RFC 9112 §2.2, RFC 9110 §5.5.
  'bare_lf',
  'bare_cr',
  'control_byte',
  // RFC 9112 §4, §5.1, §5.2.
  'bad_status',
  'folded_field',
  'empty_name',
  'bad_name',
  'space_before_colon',
  // RFC 9112 §6.1, §6.3.
  'length_and_coding',
  'bad_length',
  'bad_coding',
  'coding_in_1_0',
  'interim_with_body',
  'interim_is_last',
]);

/** Reports whether a repair may remove a fault. */
export function isRepairable(fault: string): boolean {
  return repairable.has(fault);
}

/** Returns the number of bytes up to the end of the first empty line, or -1 if there is none. */
export function sectionSize(bytes: Buffer): number {
  const bare = bytes.indexOf('\n\n');
  const plain = bytes.indexOf('\n\r\n');
  return bare >= 0 && (plain < 0 || bare < plain) ? bare + 2 : plain < 0 ? -1 : plain + 3;
}

/**
 * Creates a reader that repairs the heads of responses. Their `size` counts the received bytes.
 *
 * @param method of the request
 */
export function createMendingReader(method: string, limits: HeadLimits): HeadReader<ResponseHeadBytes> {
  return {
    begun: true,
    read(bytes, start, end) {
      const received = bytes.subarray(start, end);
      const size = sectionSize(received);
      if (size < 0 && received.length < limits.head_bytes) return 'incomplete';
      const clean =
        size < 0 || size > limits.head_bytes
          ? 'head_too_large'
          : mendHead(received.toString('latin1', 0, size), method);
      if (typeof clean === 'string') return new Malformed('response', clean, limits);
      const head = createResponseReader({ ...limits, head_bytes: Infinity }).read(clean, 0, clean.length);
      if (head !== 'incomplete' && !(head instanceof Malformed)) head.size = size;
      return head;
    },
  };
}

function mendHead(received: string, method: string): Buffer | Fault {
  const lines = mendLines(received);
  if (typeof lines === 'string') return lines;
  const { status, reason, fields } = lines;
  const framed = mendFraming(fields, status, method);
  // A response of HTTP/1.0 becomes one of HTTP/1.1: its connection ends in any case.
  return typeof framed === 'string' ? framed : ownHead(`HTTP/1.1 ${status} ${reason}`, framed);
}

interface MendedLines {
  readonly status: number;
  readonly reason: string;
  readonly fields: RawFields;
}

/** Returns the repaired lines of a head up to its empty line, or their fault. Ignores their framing. */
export function mendLines(received: string): MendedLines | Fault {
  const [first = '', ...lines] = logicalLines(received);
  if (first.includes('\n')) return 'folded_field';
  if (first.includes('\0')) return 'control_byte';
  const [, status, reason = ''] = statusLine.exec(withoutControls(first)) ?? [];
  if (status === undefined) return 'bad_status';
  const fields = mendFields(lines);
  return typeof fields === 'string' ? fields : { status: Number(status), reason, fields };
}

/** Servers that omit the reason or its space, or write more blanks (RFC 9112 §4). */
const statusLine = /^HTTP\/1\.[01] +([1-9][0-9]{2})(?![0-9])[ \t]*(.*)$/;

/** Returns the lines of a section without the empty one. A folded line contains its line breaks. */
export function logicalLines(section: string): string[] {
  return section.split(/\r?\n(?![ \t])/).slice(0, -2);
}

/**
 * Returns repaired field lines as names and values, or their fault. Omits fields whose name is not a token:
 * they cannot be forwarded.
 */
export function mendFields(lines: readonly string[]): RawFields | Fault {
  const fields: string[] = [];
  for (const line of lines) {
    if (line.includes('\0')) return 'control_byte';
    const colon = line.indexOf(':');
    let end = colon;
    while (line[end - 1] === ' ' || line[end - 1] === '\t') end -= 1;
    const name = line.slice(0, Math.max(0, end));
    // Readers disagree on a CR here: for some, it ends the head.
    if (/[\r\n]/.test(name)) return name.includes('\n') ? 'folded_field' : 'bare_cr';
    if (colon < 0) return 'no_colon';
    if (!isFieldName(name)) continue;
    let value = line.slice(colon + 1);
    // Some readers take only the first line of such a field, and would find another end of the body.
    if (!isFraming(name.toLowerCase())) value = withoutControls(value.replace(/\r?\n[ \t]+/g, ' '));
    else if (value.includes('\n')) return 'folded_field';
    else value = value.replaceAll('\r', ' ');
    fields.push(name, value.replace(/^[ \t]+/, ''));
  }
  return fields;
}

function withoutControls(text: string): string {
  return text.replace(/[^\t\x20-\x7e\x80-\xff]/g, ' ');
}

function isFraming(name: string): boolean {
  return name === 'content-length' || name === 'transfer-encoding';
}

/**
 * Returns the fields with one plain framing field or none, or a fault: different lengths, or a coding besides
 * chunked. Transfer-Encoding overrides Content-Length (RFC 9112 §6.3).
 */
function mendFraming(fields: RawFields, status: number, method: string): RawFields | Fault {
  const listOf = (name: string) => valuesOf(fields, name).flatMap((value) => value.split(','));
  const items = listOf('content-length');
  const lengths = new Set(
    items
      .filter((item) => /[^ \t]/.test(item))
      .map((item) => Number(/^[ \t]*0*([0-9]{1,15})[ \t]*$/.exec(item)?.[1])),
  );
  const isBadLength = lengths.has(NaN) || (items.length > 0 && lengths.size === 0);
  const codings = listOf('transfer-encoding').filter((item) => !/^[ \t]*(?:identity[ \t]*)?$/i.test(item));
  const isChunked = codings.every((item) => /^[ \t]*chunked[ \t]*$/i.test(item));
  // RFC 9112 §6.3 item 1: these end with their heads, whatever they announce.
  const isInterim = status < 200 && status !== 101;
  const isBodiless = !hasResponseBody(method, status);
  const isLast = (name: string) => isInterim && /^(?:proxy-)?connection$/.test(name);
  const rest = withoutFields(fields, (name) => isFraming(name) || isLast(name));
  if (status < 200 || (isBodiless && (isBadLength || !isChunked))) return rest;
  if (isBadLength) return 'bad_length';
  if (!isChunked) return 'bad_coding';
  if (codings.length > 0) return [...rest, 'Transfer-Encoding', 'chunked'];
  if (lengths.size > 1) return isBodiless ? rest : 'bad_length';
  return lengths.size === 0 ? rest : [...rest, 'Content-Length', String([...lengths][0])];
}
