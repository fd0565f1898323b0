import { createBodyReader } from '../../../../../src/proxy/http/h1/body.ts';
import {
  bytesBehindLast,
  persists,
  requestFraming,
  responseFraming,
} from '../../../../../src/proxy/http/framing.ts';
import { type RequestHeadBytes, type ResponseHeadBytes } from '../../../../../src/proxy/http/head.ts';
import {
  createRequestReader,
  createResponseReader,
  type HeadReader,
} from '../../../../../src/proxy/http/h1/read-head.ts';
import { type Fault, type HeadLimits, Malformed } from '../../../../../src/proxy/http/h1/scan.ts';
import { addHead, type HeadEdit } from '../../../../../src/proxy/http/h1/write.ts';

/** A message as the codec reads it. */
export interface ReadMessage {
  /** Method and target, or status and reason. */
  readonly line: readonly string[];
  readonly version: string;
  readonly fields: readonly string[];
  readonly plan: string;
  body: string;
  trailers: readonly string[];
  readonly persists: boolean;
  /** True if the body is complete. */
  whole: boolean;
}

/** Messages in the bytes of a connection. */
export interface ReadConnection {
  readonly messages: readonly ReadMessage[];
  /**
   * The reason to stop reading. `taken over`: the bytes are no longer HTTP. `repaired`: the body of a
   * response, the last of its connection. null: no fault so far.
   */
  readonly end: Fault | 'taken over' | 'repaired' | null;
  /** Bytes that begin a message whose head is not whole. */
  readonly rest: string;
}

export const limits: HeadLimits = { head_bytes: 65_536, head_fields: 200 };

/** Returns the bytes of a forwarded head. */
export function headBytes(head: RequestHeadBytes | ResponseHeadBytes, edit: HeadEdit): Buffer {
  let bytes = Buffer.alloc(0);
  const room = (size: number) => (bytes = Buffer.alloc(size));
  addHead({ room, end: 0, filledTo() {}, add: () => true, flush() {} }, head, edit);
  return bytes;
}

/** Reads a connection's requests; `pieces` in the order in which they come. */
export function readRequests(pieces: readonly Buffer[], within = limits): ReadConnection {
  return readAll(pieces, within, createRequestReader(within), (head) => {
    const plan = requestFraming(head);
    if (plan instanceof Malformed) return plan;
    const takesOver = head.method === 'CONNECT';
    return { line: [head.method, head.target], whose: 'request', plan, takesOver };
  });
}

/** Reads the responses of a connection, each to a request of this method. */
export function readResponses(pieces: readonly Buffer[], method = 'GET', within = limits): ReadConnection {
  return readAll(pieces, within, createResponseReader(within), (head) => {
    const plan = responseFraming(head, method);
    if (plan instanceof Malformed) return plan;
    const takesOver = plan.kind === 'tunnel' || head.status === 101;
    return { line: [String(head.status), head.reason], whose: 'response', plan, takesOver };
  });
}

interface Judged {
  readonly line: readonly string[];
  readonly whose: 'request' | 'response';
  readonly plan: Exclude<ReturnType<typeof responseFraming>, Malformed>;
  readonly takesOver: boolean;
}

function readAll<Head extends RequestHeadBytes | ResponseHeadBytes>(
  pieces: readonly Buffer[],
  within: HeadLimits,
  reader: HeadReader<Head>,
  judge: (head: Head) => Judged | Malformed,
): ReadConnection {
  const messages: ReadMessage[] = [];
  let body: ReturnType<typeof createBodyReader> | null = null;
  let current: ReadMessage | null = null;
  let whose: Judged['whose'] = 'request';
  let rest: Buffer = Buffer.alloc(0);
  const stop = (end: ReadConnection['end']): ReadConnection => ({ messages, end, rest: '' });
  for (const piece of pieces) {
    // Every time somewhere else in a larger buffer, as it is where buffers are reused.
    const before = (rest.length + piece.length) % 7;
    const region = Buffer.concat([Buffer.alloc(before, '!'), rest, piece, Buffer.from('!')]);
    const end = region.length - 1;
    let at = before;
    while (at < end || (body !== null && body.over)) {
      if (body !== null && current !== null) {
        if (!body.over) {
          const next = body.read(region, at, end);
          if (body.isMended || typeof next !== 'number') {
            // How much of it was seen before depends on the pieces.
            current.body = '';
            return stop(body.isMended || typeof next === 'number' ? 'repaired' : next.fault);
          }
          for (let i = 0; i < body.spans.length; i += 2)
            current.body += region.toString('latin1', body.spans[i], body.spans[i + 1]);
          at = next;
        }
        if (!body.over) continue;
        current.trailers = body.trailers?.raw() ?? [];
        current.whole = true;
        body = null;
        continue;
      }
      if (current !== null && !current.persists) return stop(bytesBehindLast(whose).fault);
      const head = reader.read(region, at, end);
      if (head === 'incomplete') break;
      if (head instanceof Malformed) return stop(head.fault);
      const judged = judge(head);
      if (judged instanceof Malformed) return stop(judged.fault);
      ({ whose } = judged);
      current = {
        line: judged.line,
        version: head.version,
        fields: head.raw(),
        plan: judged.plan.kind,
        body: '',
        trailers: [],
        persists: persists(head),
        whole: false,
      };
      messages.push(current);
      at += head.size;
      body = createBodyReader(judged.plan, { whose, limits: within, spans: true });
      if (judged.takesOver) {
        current.whole = true;
        return stop('taken over');
      }
    }
    rest = region.subarray(at, end);
  }
  return { messages, end: null, rest: rest.toString('latin1') };
}

export const bytes = (text: string) => Buffer.from(text, 'latin1');

/** Splits bytes into pieces of one byte. */
export const byteByByte = (text: string) => Array.from(text, (character) => bytes(character));
