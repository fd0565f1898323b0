import { SidekeyError } from '../errors.ts';
import type { Limits } from '../policy/limits.ts';
import { disguisedField } from '../policy/field.ts';
import { valuesOf } from './fields.ts';
import type { BodyPlan } from '../inject/body-plan.ts';
import type { RequestHead } from './message.ts';

/**
 * How the body of a request is framed (RFC 9112 §6.3), or why that cannot be told without a guess. A request that two
 * programs could cut at different places is refused, never repaired: that is how requests are smuggled.
 */
export function framingOf({ fields, version }: RequestHead, limits: Limits): BodyPlan | SidekeyError {
  if (fields.length / 2 > limits.head_fields) {
    return refusal(`The request has more than ${limits.head_fields} header fields.`);
  }
  for (let i = 0; i < fields.length; i += 2) {
    const read = disguisedField(fields[i]!);
    if (read !== null) return disguised(read);
  }
  const codings = valuesOf(fields, 'transfer-encoding');
  const lengths = valuesOf(fields, 'content-length');
  if (codings.length > 0) {
    if (lengths.length > 0) return refusal('The request has both Content-Length and Transfer-Encoding.');
    if (version === '1.0') return refusal('The request has Transfer-Encoding in HTTP/1.0.');
    const [coding, ...more] = codings;
    if (more.length > 0 || coding?.toLowerCase() !== 'chunked') {
      return refusal('The request has a transfer coding other than chunked.');
    }
    return { kind: 'chunked' };
  }
  const [length, ...more] = lengths;
  if (length === undefined) return { kind: 'none' };
  if (more.length > 0 || !/^(?:0|[1-9][0-9]{0,14})$/.test(length)) {
    return refusal('The request has no single, plain Content-Length.');
  }
  const bytes = Number(length);
  if (limits.body_bytes > 0 && bytes > limits.body_bytes) return bodyTooLarge(limits.body_bytes);
  return bytes === 0 ? { kind: 'none' } : { kind: 'length', bytes };
}

/** Whether a final response has a body; else its `Content-Length` tells of the one that another would have. */
export function hasResponseBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304;
}

/** The refusal of a body beyond `limits.body_bytes`, whether that was announced or came to pass. */
export function bodyTooLarge(limit: number): SidekeyError {
  return new SidekeyError('body_too_large', `The request body is larger than ${limit} bytes.`, {
    hint: 'raise limits.body_bytes',
  });
}

/** Servers that fold names would frame or route the request by it (RFC 3875 §4.1.18). */
function disguised(read: string): SidekeyError {
  return new SidekeyError('bad_request', `The request has a field that some servers read as ${read}.`, {
    hint: 'write hyphens in its name, or leave it out',
  });
}

function refusal(sentence: string): SidekeyError {
  return new SidekeyError('bad_request', sentence);
}
