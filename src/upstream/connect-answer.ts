/** What a proxy answered to a CONNECT (RFC 9110 §9.3.6). */
export interface ConnectAnswer {
  readonly status: number;
  /** Bytes of the answer's head, its empty line included: what stands behind it is the tunnel's. */
  readonly size: number;
}

/** No proxy that means well says more before a tunnel, interim answers included. */
export const mostAnswerBytes = 16_384;

const statusLine = /^HTTP\/1\.[01] ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const fieldLine = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Reads the head of the final answer, once all of it is there. What announces a body means nothing in an answer that
 * opens a tunnel, and of any other nothing is read.
 *
 * @param bytes everything that has come
 */
export function readConnectAnswer(bytes: Buffer): ConnectAnswer | 'incomplete' | 'malformed' {
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n\r\n', at, 'latin1');
    if (end > mostAnswerBytes) return 'malformed';
    if (end < 0) return bytes.length > mostAnswerBytes || !mayBegin(bytes, at) ? 'malformed' : 'incomplete';
    const [first = '', ...fields] = bytes.toString('latin1', at, end).split('\r\n');
    const status = Number(statusLine.exec(first)?.[1] ?? NaN);
    if (Number.isNaN(status) || status === 101 || !fields.every((line) => fieldLine.test(line)))
      return 'malformed';
    at = end + 4;
    // 1xx come before the answer, and are none.
    if (status >= 200) return { status, size: at };
  }
}

/** Whether this can become an answer: what speaks another protocol is not waited for. */
function mayBegin(bytes: Buffer, at: number): boolean {
  const beginning = 'HTTP/1.';
  return beginning.startsWith(bytes.toString('latin1', at, at + beginning.length));
}
