import type { IncomingMessage } from 'node:http';

/** The largest request body that any endpoint takes, in bytes. */
export const maxBodyBytes = 64 * 1024;

/** The whole body; null where it is larger than `maxBodyBytes`. Throws where the client goes away. */
export async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (size > maxBodyBytes) break;
    chunks.push(bytes);
  }
  if (size > maxBodyBytes) {
    // The rest is read and dropped: a connection that closes on a client still sending may lose it the
    // answer.
    request.resume();
    return null;
  }
  return Buffer.concat(chunks, size);
}

/** The fields of a submitted HTML form; null where the body is too large. */
export async function readForm(request: IncomingMessage): Promise<URLSearchParams | null> {
  const body = await readBody(request);
  return body === null ? null : new URLSearchParams(body.toString('utf8'));
}

/** The media type of the body, without parameters, in lower case; '' where none is given. */
export function mediaType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();
}
