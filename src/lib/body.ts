import { gunzipSync } from 'node:zlib';

/** Reads a body to its end. Null if it exceeds `maxBytes`, with the rest unread. Rejects like the body. */
export async function readBounded(
  body: AsyncIterable<Uint8Array> | null,
  maxBytes: number,
): Promise<Buffer<ArrayBuffer> | null> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  // Leaving the loop early cancels the body.
  for await (const chunk of body ?? []) {
    length += chunk.byteLength;
    if (length > maxBytes) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

interface Reading {
  readonly maxBytes: number;
  /** `Content-Type` of the response; null: none. */
  readonly contentType: string | null;
}

/**
 * Reads a body. Returns null if it exceeds `maxBytes`. If the connection fails after a complete JSON text,
 * returns that text, because a token endpoint does not send its tokens again. Rejects like the body.
 */
export async function readText(
  body: AsyncIterable<Uint8Array> | null,
  { maxBytes, contentType }: Reading,
): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    // Leaving the loop early cancels the body.
    for await (const chunk of body ?? []) {
      length += chunk.byteLength;
      if (length > maxBytes) return null;
      chunks.push(chunk);
    }
  } catch (error) {
    const text = decode(unzip(Buffer.concat(chunks), maxBytes), contentType);
    if (!isJson(text)) throw error;
    return text;
  }
  return decode(unzip(Buffer.concat(chunks), maxBytes), contentType);
}

/** Decompresses gzip, where a proxy has removed `Content-Encoding`. JSON never starts with these bytes. */
function unzip(bytes: Buffer, maxOutputLength: number): Buffer {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength });
  } catch {
    return bytes;
  }
}

/**
 * Decodes by the byte order mark, else by the declared charset. If the result is not JSON, decodes as UTF-8:
 * some servers declare UTF-16, which their strings have in memory, and send UTF-8.
 */
function decode(bytes: Buffer, contentType: string | null): string {
  const declared = /;\s*charset\s*=\s*["']?([^\s;"']+)/i.exec(contentType ?? '')?.[1] ?? '';
  const byMark = bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : 'utf-16be';
  const hasMark = byMark === 'utf-16le' || (bytes[0] === 0xfe && bytes[1] === 0xff);
  const text = decoderOf(hasMark ? byMark : declared)?.decode(bytes);
  if (text !== undefined && isJson(text)) return text;
  // Each NUL comes from UTF-16 or UTF-32 that is not declared. Tokens are ASCII.
  return new TextDecoder().decode(bytes).replaceAll('\0', '');
}

/** Returns null for an unknown charset. A decoder drops the byte order mark. */
function decoderOf(charset: string): TextDecoder | null {
  try {
    return new TextDecoder(charset);
  } catch {
    return null;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
