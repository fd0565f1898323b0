import { asTyped } from '../lib/log.ts';
import { failures } from '../lib/failures.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Denial } from '../policy/decide.ts';
import type { RawFields } from './fields.ts';
import type { Reply } from './message.ts';

/** A refusal as a client sees it: a problem document (RFC 9457). */
interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly fields: RawFields;
  readonly body: Buffer;
}

/** Policy's no as a failure. */
export function denialOf({ code, reason, hint }: Pick<Denial, 'code' | 'reason' | 'hint'>): SidekeyError {
  return new SidekeyError(code, `${asBeginning(reason)}.`, { hint });
}

/** A reason as the beginning of a sentence; names of hosts stay as they are. */
export function asBeginning(reason: string): string {
  return reason.replace(/^(?:the|no) /, (word) => word.charAt(0).toUpperCase() + word.slice(1));
}

/** A failure as a refusal. What is not a `SidekeyError` says nothing of itself to the client. */
export function refusalOf(error: unknown): Refusal {
  const known = error instanceof SidekeyError ? error : new SidekeyError('internal');
  const { code, status, message: detail, hint, retryAfterMs } = known;
  const body = Buffer.from(
    `${JSON.stringify({
      title: failures[code].title,
      status,
      code,
      detail,
      ...(hint === undefined ? {} : { hint: asTyped(hint) }),
    })}\n`,
  );
  return {
    status,
    // Many clients print nothing of a refused CONNECT but its reason phrase.
    reason: code,
    fields: [
      'Content-Type',
      'application/problem+json',
      'Content-Length',
      String(body.length),
      'Cache-Control',
      'no-store',
      'Sidekey-Error',
      code,
      // Whole seconds, and never too early: who comes back at once would be refused again.
      ...(retryAfterMs === undefined
        ? []
        : ['Retry-After', String(Math.max(1, Math.ceil(retryAfterMs / 1_000)))]),
      ...(code === 'agent_auth_required'
        ? ['Proxy-Authenticate', 'Basic realm="Sidekey", charset="UTF-8"']
        : []),
      // RFC 9110 §15.5.6; only pages of Sidekey's own refuse by method.
      ...(code === 'method_not_allowed' ? ['Allow', 'GET, HEAD'] : []),
    ],
    body,
  };
}

/** Refuses through a reply that has not begun; cuts one that has. Answers the status, for the audit. */
export function refuse(reply: Reply, error: unknown, method: string): number {
  const { status, reason, fields, body } = refusalOf(error);
  if (reply.started) {
    reply.abort();
    return status;
  }
  // Where a message is malformed, what comes after it is not known to begin where it seems to (RFC 9112 §6.3).
  if (status === 400) reply.last();
  reply.head(status, reason, fields);
  if (method !== 'HEAD') reply.write(body);
  reply.end([]);
  return status;
}

/** A refusal as bytes, for a socket that speaks HTTP/1.1 and is closed after it: CONNECT and upgrades. */
export function refusalBytes(error: unknown): Buffer {
  const { status, reason, fields, body } = refusalOf(error);
  let head = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return Buffer.concat([Buffer.from(`${head}Connection: close\r\n\r\n`, 'latin1'), body]);
}
