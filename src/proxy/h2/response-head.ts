import { SidekeyError } from '../../errors.ts';
import { hopByHop, type RawFields } from '../fields.ts';
import { hasResponseBody } from '../framing.ts';
import { fieldLines } from '../h1/head-writer.ts';

/** A response as HTTP/2 has it. */
export interface ResponseHead {
  /** Names in small letters and values in turn, `:status` first. */
  readonly fields: string[];
  /** Bytes that the body has; null: that is not announced. 0 where it can have none. */
  readonly length: number | null;
  /** Whether the stream ends with the head. */
  readonly isBare: boolean;
}

/**
 * The head of a final response. HTTP/2 has no reason phrase, no fields of one connection, and small letters alone
 * (RFC 9113 §8.2).
 *
 * @param method of the request
 * @throws SidekeyError `upstream_protocol` where its status or its length cannot be passed on; `policy_violation` where
 *   a field would be more than one
 */
export function responseHead(method: string, status: number, fields: RawFields): ResponseHead {
  if (status > 599) throw unsendable('a status above 599');
  const list = [':status', String(status)];
  // 205 has no content (RFC 9110 §15.3.6), and Node sends none.
  const isBare = !hasResponseBody(method, status) || status === 205;
  let length: number | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (hopByHop.has(name)) continue;
    if (name === 'content-length') {
      if (status === 205) continue;
      if (length !== null || !/^[0-9]{1,15}$/.test(fields[i + 1]!)) {
        throw unsendable('no single, plain Content-Length');
      }
      length = Number(fields[i + 1]);
    }
    list.push(name, fields[i + 1]!);
  }
  // What is not one line each would be another list of fields.
  fieldLines(list.slice(2));
  return { fields: list, length: isBare ? 0 : length, isBare };
}

/** Interim statuses that clients know; 100 and 101 are answers of the proxy's own. */
const interim = new Set([102, 103]);

/** An interim response; null: clients do not know it. It announces neither a body nor trailers. */
export function interimHead(
  status: number,
  fields: RawFields,
): Readonly<Record<string, number | string[]>> | null {
  if (!interim.has(status)) return null;
  return { ':status': status, ...fieldMap(fields, ['content-length', 'trailer']) };
}

/** Fields by their names in small letters, as Node takes trailers. */
export function fieldMap(fields: RawFields, without: readonly string[] = []): Record<string, string[]> {
  // Without a prototype: `constructor` and `__proto__` are names as any other.
  const map = Object.create(null) as Record<string, string[]>;
  fieldLines(fields);
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (!hopByHop.has(name) && !without.includes(name)) (map[name] ??= []).push(fields[i + 1]!);
  }
  return map;
}

function unsendable(what: string): SidekeyError {
  return new SidekeyError('upstream_protocol', `The response has ${what}.`);
}
