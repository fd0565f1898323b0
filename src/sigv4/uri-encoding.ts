/**
 * How SigV4 writes texts of a URL: every byte but the unreserved ones of RFC 3986 §2.3 as `%XX`, in upper case.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */

const unreserved = /^[A-Za-z0-9\-._~]*$/;

const written: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const letter = String.fromCharCode(byte);
  return /[A-Za-z0-9\-._~]/.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
});

const slash = 0x2f;

/** A text of a request line, of which each character is one byte. `/` stays where `keepsSlash`. */
export function uriEncode(bytes: Buffer | string, keepsSlash = false): string {
  if (typeof bytes === 'string') {
    if (unreserved.test(bytes)) return bytes;
    bytes = Buffer.from(bytes, 'latin1');
  }
  let text = '';
  for (const byte of bytes) text += keepsSlash && byte === slash ? '/' : written[byte]!;
  return text;
}

/**
 * The bytes that a percent-encoded text stands for. A percent sign without two hex digits stands for itself; `+` is a
 * space, as AWS reads it both in queries and in the paths of S3.
 */
export function uriDecode(text: string): Buffer {
  const plain = text
    .replaceAll('+', ' ')
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(plain, 'latin1');
}

/** However a text was percent-encoded: as SigV4 writes it. */
export function uriReencode(text: string, keepsSlash = false): string {
  return unreserved.test(text) ? text : uriEncode(uriDecode(text), keepsSlash);
}
