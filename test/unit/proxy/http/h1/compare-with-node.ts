import type { Fault } from '../../../../../src/proxy/http/h1/scan.ts';
import { createNodeParser } from './node-parser.ts';
import { bytes, readRequests, readResponses, type ReadConnection } from './read-messages.ts';

/**
 * One row of bytes, read by the codec and by Node's own strict parser. Wherever both accept they are to agree
 * on the head, on the body and on where the next message begins. The codec may refuse more, for a reason of
 * `stricter`; it accepts what Node refuses only where `looser` says why.
 */
export interface Comparison {
  /** The difference between both; null: none. */
  readonly problem: string | null;
  /** Fault for which the codec refused bytes that Node accepts; null: none. */
  readonly stricter: Fault | null;
  /** Error for which Node refused bytes that the codec accepts. */
  readonly looser: keyof typeof looser | null;
  /** Class of the result, equal for inputs that are handled in the same way. */
  readonly way: string;
}

/**
 * Faults that Node's strict parser accepts and the codec refuses. (`too_much_chunk_overhead` is another,
 * which needs longer rows than these.)
 */
export const stricter: Readonly<Partial<Record<Fault, string>>> = {
  bare_lf: 'Node skips line feeds between messages; other readers take one for a line’s end everywhere',
  bare_cr: 'Node skips carriage returns between messages',
  bad_method:
    'Node skips any number of empty lines before a request; one is enough for old clients (RFC 9112 §2.2)',
  bad_target:
    'Node skips further spaces before a target, and lets a fragment through, which servers cut or keep',
  http2_preface: 'Node takes PRI for a method where the rest of the line is not that of the preface',
  no_version: 'Node reads HTTP/0.9, and skips empty lines between responses',
  unknown_version: 'Node reads HTTP/0.9 and HTTP/2.0 in the form of HTTP/1',
  bad_status: 'Node reads statuses below 100',
  control_byte: 'Node lets control bytes through in a reason phrase',
  bad_length: 'Node lets tabs stand around a length, and one of more than 15 digits',
  bad_coding: 'Node reads codings that end in chunked, and responses with any coding up to their close',
  coding_in_1_0: 'Node reads chunks in HTTP/1.0, which has none: a reader of HTTP/1.0 sees no frame',
  body_of_connect: 'Node takes the body of a CONNECT for the tunnel’s first bytes',
  bad_chunk_extension: 'Node lets empty names and values through, and bytes that are no token',
  chunk_size_too_large:
    'Node counts sizes in 64 bits; a double counts them up to 2^53, and nobody sends more',
  chunk_extension_too_large: 'Node’s bound is 16 KB',
  framing_in_trailers: 'Node lets a response have Transfer-Encoding in its trailers',
  interim_with_body: 'Node knows that a 103 has no body, and not that a 104 has none',
  interim_is_last: 'Node refuses what comes behind it; the final response is owed, so it can be told before',
  bytes_behind_last: 'Node skips line ends behind the last message',
};

/** Faults that Node refuses and the codec accepts. */
export const looser = {
  method: 'a method of capitals that Node does not know has one reading all the same',
  target:
    'the form of a target is judged by proxy/target.ts, which refuses what is neither a path nor absolute',
} as const;

interface Found {
  readonly line: readonly string[];
  readonly version: string;
  readonly fields: readonly string[];
  body: string;
  trailers: readonly string[];
  whole: boolean;
  readonly upgrade: boolean;
  readonly persists: boolean;
}

function readByNode(text: string, whose: 'request' | 'response', method: string) {
  const found: Found[] = [];
  const parser = createNodeParser(whose, {
    head(head) {
      found.push({
        line: whose === 'request' ? [head.method ?? '', head.target] : [String(head.status), head.reason],
        version: `${head.major}.${head.minor}`,
        fields: head.fields,
        body: '',
        trailers: [],
        whole: false,
        upgrade: head.upgrade,
        persists: head.persists,
      });
    },
    body(part) {
      found.at(-1)!.body += part.toString('latin1');
    },
    end(trailers) {
      Object.assign(found.at(-1)!, { trailers, whole: true });
    },
    skipsBody: () => whose === 'response' && method === 'HEAD',
  });
  const taken = parser.execute(bytes(text));
  return { found, error: typeof taken === 'string' ? taken : null };
}

/** Compares the two on the bytes of one connection. */
export function compare(text: string, whose: 'request' | 'response', method = 'GET'): Comparison {
  const read = (all: string) =>
    whose === 'request' ? readRequests([bytes(all)]) : readResponses([bytes(all)], method);
  const ours = read(text);
  const node = readByNode(text, whose, method);
  const plans = ours.messages.map(({ plan, whole }) => `${plan}${whole ? '' : '…'}`).join(' ');
  const way = [ours.end, node.error, node.found.length, plans].join(' | ');
  const verdict = judge(ours, node, text, method);
  if (verdict.problem === null || ours.end !== null || node.error === null) return { ...verdict, way };
  // Node looks at a field when it comes, and the codec when the head or the trailers are whole.
  const isRefusedLater = ['\r\n\r\n', '\n\r\n', '\r\n'].some((rest) => read(text + rest).end !== null);
  return { ...(isRefusedLater ? agreed : verdict), way };
}

type Verdict = Pick<Comparison, 'problem' | 'stricter' | 'looser'>;
const agreed: Verdict = { problem: null, stricter: null, looser: null };
const differ = (problem: string): Verdict => ({ ...agreed, problem });

function judge(
  ours: ReadConnection,
  node: ReturnType<typeof readByNode>,
  text: string,
  method: string,
): Verdict {
  const refusedByUs = (): Verdict => {
    if (ours.end === null) return differ('Node goes on where the codec waits');
    if (ours.end === 'taken over' || ours.end === 'repaired') return agreed;
    return ours.end in stricter
      ? { ...agreed, stricter: ours.end }
      : differ(`the codec alone refuses: ${ours.end}`);
  };
  const refusedByNode = (): Verdict => {
    if (node.error === null) return differ('the codec goes on where Node waits');
    const why = reasonOf(node.error);
    return why === null ? differ(`Node alone refuses: ${node.error}`) : { ...agreed, looser: why };
  };
  // A test compares repaired responses with curl.
  if (ours.end === 'repaired') return agreed;
  for (let index = 0; ; index += 1) {
    const [a, b] = [ours.messages[index], node.found[index]];
    if (a === undefined || b === undefined) {
      if (a !== undefined) return refusedByNode();
      if (b !== undefined) return refusedByUs();
      if (ours.end !== null && ours.end !== 'taken over' && node.error === null) return refusedByUs();
      if (ours.end === null && node.error !== null) return refusedByNode();
      return agreed;
    }
    for (const part of ['line', 'version', 'fields'] as const) {
      if (JSON.stringify(a[part]) !== JSON.stringify(b[part]))
        return differ(`${part} of message ${index}: ${JSON.stringify(a[part])}, ${JSON.stringify(b[part])}`);
    }
    // Behind it comes another protocol.
    if (b.upgrade || ours.end === 'taken over') return agreed;
    if (a.whole && b.whole) {
      if (a.body !== b.body) return differ(`the body of message ${index}`);
      if (JSON.stringify(a.trailers) !== JSON.stringify(b.trailers))
        return differ(`the trailers of message ${index}`);
      // Node hears `keep-alive` of it too; and is told of HEAD when it has said whether the connection stays.
      const isComparable = method !== 'HEAD' && !/proxy-connection/i.test(text) && !saysBoth(a);
      if (isComparable && (a.persists && a.plan !== 'until_close') !== b.persists)
        return differ(`whether the connection stays after message ${index}`);
      continue;
    }
    if (a.whole) return refusedByNode();
    if (b.whole) return refusedByUs();
    if (ours.end === null && node.error === null && a.body !== b.body)
      return differ('a body that has not ended');
    if (ours.end === null && node.error !== null) return refusedByNode();
    return ours.end !== null && node.error === null ? refusedByUs() : agreed;
  }
}

/** HTTP/1.0 that says both: Node keeps the connection, and `close` goes before all else (RFC 9112 §9.3). */
function saysBoth({ version, fields, persists }: Pick<Found, 'version' | 'fields' | 'persists'>): boolean {
  const closes = (value: string, index: number) =>
    index % 2 === 1 && fields[index - 1]!.toLowerCase() === 'connection' && /\bclose\b/i.test(value);
  return version === '1.0' && !persists && fields.some(closes);
}

function reasonOf(code: string): keyof typeof looser | null {
  if (code === 'HPE_INVALID_METHOD') return 'method';
  return code === 'HPE_INVALID_URL' ? 'target' : null;
}
