import type { IncomingHttpHeaders } from 'node:http';
import type { Recorded } from './recorded.ts';

/** The answer to a request, for programs. */
export interface Answered {
  readonly url: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: { readonly bytes: Buffer } | { readonly file: string; readonly length: number };
  /** Null: another proxy answered, whose record is not seen from here. */
  readonly recorded: Recorded | null;
}

/** One object of JSON: the body as text where it is UTF-8, else in base64. */
export function envelopeOf({
  url,
  status,
  headers,
  body,
  recorded,
}: Answered): Readonly<Record<string, unknown>> {
  return {
    url,
    status,
    headers,
    ...('bytes' in body ? inlined(body.bytes) : { file: body.file, bytes: body.length }),
    grant: recorded?.grant ?? null,
    exchange: recorded?.exchange ?? null,
    agent: recorded?.agent ?? null,
    lease: recorded?.lease ?? null,
    approval: recorded?.approval ?? null,
  };
}

function inlined(bytes: Buffer): { body: string } | { body_base64: string } {
  try {
    return { body: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { body_base64: bytes.toString('base64') };
  }
}
