import { valuesOf } from './http/fields.ts';
import type { ExchangeResult, Reply } from './http/message.ts';
import type { Request } from './request.ts';

/** The parameters of a token request, by name. JSON may have values of any type. */
type TokenParameters = Readonly<Record<string, unknown>>;

/** Reads a token request: a form (RFC 6749 §4), or the JSON that some providers take instead. */
export function readTokenRequest(text: string, { fields }: Pick<Request, 'fields'>): TokenParameters {
  const type = valuesOf(fields, 'content-type')[0] ?? '';
  if (!/\bjson\b/i.test(type)) return Object.fromEntries(new URLSearchParams(text));
  try {
    return Object(JSON.parse(text)) as TokenParameters;
  } catch {
    return {};
  }
}

/**
 * Answers a token request (RFC 6749 §5.1).
 *
 * @param bytesIn bytes of its body
 */
export function replyToTokenRequest(
  reply: Reply,
  { status, members, isForm }: TokenReply,
  bytesIn: number,
): ExchangeResult {
  const entries = Object.entries(members).map(([name, value]) => [name, String(value)]);
  const bytes = Buffer.from(isForm ? new URLSearchParams(entries).toString() : JSON.stringify(members));
  const type = isForm ? 'application/x-www-form-urlencoded; charset=utf-8' : 'application/json';
  const about = ['Content-Type', type, 'Content-Length', String(bytes.length)];
  reply.head(status, status === 200 ? 'OK' : 'Declined', [
    ...about,
    'Cache-Control',
    'no-store',
    'Pragma',
    'no-cache',
  ]);
  reply.write(bytes);
  reply.end([]);
  return { status, bytesIn, bytesOut: bytes.length, outcome: 'complete' };
}

interface TokenReply {
  readonly status: number;
  readonly members: TokenParameters;
  readonly isForm: boolean;
}
