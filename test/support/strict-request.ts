/** A request with only one possible interpretation. */
export interface PlainRequest {
  readonly method: string;
  readonly path: string;
  /** The field lines without line ends. */
  readonly lines: readonly string[];
  readonly body: string;
  /** Number of characters of the request. */
  readonly size: number;
}

const head =
  /^([A-Z]+) (\/[!-"$-~]*) HTTP\/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?:[\t\x20-\x7e\x80-\xff]*[!-~\x80-\xff])?\r\n)+)\r\n/;
const chunk = /^([1-9a-f][0-9a-f]*)\r\n/;

/**
 * Reads what a proxy sent with patterns that share no code with its codec. It refuses everything that two
 * programs could read in two ways: it requires one `Host` as the first field and one plain framing field,
 * and refuses unusual white space and extensions.
 * @returns null when the request is not complete yet
 * @throws Error otherwise
 */
export function readPlain(text: string): PlainRequest | null {
  const found = head.exec(text);
  if (found === null) {
    if (!text.includes('\r\n\r\n')) return null;
    throw new Error(`not a plain head: ${JSON.stringify(text)}`);
  }
  const [{ length: headSize }, method = '', path = '', fields = ''] = found;
  const lines = fields.split('\r\n').slice(0, -1);
  const named = (pattern: RegExp) => lines.filter((line) => pattern.test(line));
  const framing = named(/^(?:content-length|transfer-encoding):/i);
  const hopByHop = named(
    /^(?:connection|proxy-.*|keep-alive|te|upgrade|http2-settings|sidekey-.*):|^expect:(?! 100-continue$)/i,
  );
  if (!lines[0]?.startsWith('Host: ') || named(/^host:/i).length !== 1) throw new Error(`hosts: ${fields}`);
  if (framing.length > 1 || hopByHop.length > 0) throw new Error(`fields: ${fields}`);
  const rest = text.slice(headSize);
  const [, length] = /^content-length: ([0-9]+)$/i.exec(framing[0] ?? '') ?? [];
  if (framing.length === 0 || length !== undefined) {
    const bytes = Number(length ?? 0);
    if (rest.length < bytes) return null;
    return { method, path, lines, body: rest.slice(0, bytes), size: headSize + bytes };
  }
  if (!/^transfer-encoding: chunked$/i.test(framing[0] ?? '')) throw new Error(`framing: ${framing[0]}`);
  let body = '';
  for (let at = 0; ;) {
    const left = rest.slice(at);
    const [last] = /^0\r\n(?:[A-Za-z-]+: [!-~ ]*\r\n)*\r\n/.exec(left) ?? [];
    if (last !== undefined) return { method, path, lines, body, size: headSize + at + last.length };
    const [line = '', hex = ''] = chunk.exec(left) ?? [];
    const size = Number.parseInt(hex, 16);
    const end = line.length + size;
    if (line === '' && left.includes('\r\n\r\n')) throw new Error(`not a chunk: ${JSON.stringify(left)}`);
    if (line === '' || left.length < end + 2) return null;
    if (left.slice(end, end + 2) !== '\r\n')
      throw new Error(`not the end of a chunk: ${JSON.stringify(left)}`);
    body += left.slice(line.length, end);
    at += end + 2;
  }
}
