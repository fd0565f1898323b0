import { SidekeyError } from '../../errors.ts';
import { hopByHop, type RawFields } from '../fields.ts';
import type { RequestHead } from '../message.ts';

/** The head of a stream, as the exchange sees heads. */
export interface StreamHead {
  readonly head: RequestHead;
  /** `:protocol` of an extended CONNECT (RFC 8441 §4); null: there is none. */
  readonly protocol: string | null;
}

const pseudoNames = [':method', ':scheme', ':authority', ':path', ':protocol'];

/** As the codec for HTTP/1.1 has it: no more than 32 characters, and no small letters, which some take for capitals. */
const method = /^[!#$%&'*+.^_|~0-9A-Z-]{1,32}$/;

/**
 * Reads the fields of a HEADERS block as the head of a request. The framing library refuses what is malformed before
 * it comes here; this does not rely on it, for what it let through would be written into a request line.
 *
 * A body without a length is announced as HTTP/1.1 would: whatever is behind knows one way to say so. Cookies that came
 * in crumbs are one field again (RFC 9113 §8.2.3).
 *
 * @param raw names and values in turn, pseudo-header fields first
 */
export function readStreamHead(raw: RawFields, hasBody: boolean): StreamHead | SidekeyError {
  const pseudo: Partial<Record<string, string>> = {};
  const fields: string[] = [];
  let cookieAt = -1;
  let hasLength = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    if (name.startsWith(':')) {
      if (fields.length > 0 || !pseudoNames.includes(name) || pseudo[name] !== undefined) return malformed();
      pseudo[name] = value;
    } else if (name === 'te' && value !== 'trailers') {
      return refusal('The TE field of the request says more than "trailers".');
    } else if (name !== 'te' && hopByHop.has(name)) {
      // RFC 9113 §8.2.2.
      return refusal('The request has a field of one connection, and HTTP/2 knows none.');
    } else if (name === 'cookie' && cookieAt >= 0) {
      fields[cookieAt] = `${fields[cookieAt]}; ${value}`;
    } else {
      if (name === 'cookie') cookieAt = fields.length + 1;
      if (name === 'content-length') hasLength = true;
      fields.push(name, value);
    }
  }
  const isConnect = pseudo[':method'] === 'CONNECT';
  const protocol = pseudo[':protocol'] ?? null;
  const { ':method': verb = '', ':path': path, ':scheme': scheme, ':authority': authority } = pseudo;
  if (!method.test(verb)) return refusal('The request has a method that is not one.');
  if (protocol !== null && !isConnect) return malformed();
  if (!isConnect || protocol !== null) {
    if (path === undefined) return malformed();
    if (scheme !== 'https') return refusal('The :scheme of the request is not that of its connection.');
  }
  if (hasBody && !hasLength && !isConnect) fields.push('transfer-encoding', 'chunked');
  return { head: { method: verb, target: path ?? '', version: '2', authority, fields }, protocol };
}

/** The size of a list of fields as SETTINGS_MAX_HEADER_LIST_SIZE has it (RFC 9113 §6.5.2). */
export function listSize(raw: RawFields): number {
  return raw.reduce((sum, text) => sum + text.length, 16 * raw.length);
}

function malformed(): SidekeyError {
  return refusal('The pseudo-header fields of the request are not those of a request.');
}

function refusal(sentence: string): SidekeyError {
  return new SidekeyError('bad_request', sentence);
}
