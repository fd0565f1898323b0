import { compare } from './compare-with-node.ts';
import { spoil, spoilers } from './corpus.ts';
import { byteByByte, bytes, readRequests, readResponses } from './read-messages.ts';

/** Result of a run of the fuzzer. */
export interface FuzzReport {
  readonly runs: number;
  /** Inputs that went a way which none before them had gone. */
  readonly ways: number;
  /** The shortest input of each problem. */
  readonly problems: ReadonlyMap<string, string>;
}

export interface FuzzOptions {
  readonly seed: number;
  /** Called before each run. */
  readonly goesOn: (runs: number) => boolean;
}

const seeds = {
  request: [
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n',
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a="b";c=d\r\nabc\r\n0\r\nX: y\r\n\r\nGET /b HTTP/1.1\r\n\r\n',
    'GET http://a/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n',
    'GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n',
    'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n',
    'GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'DELETE / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  response: [
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n',
    'HTTP/1.0 200 OK\r\n\r\nuntil the end',
    'HTTP/1.1 304\r\nContent-Length: 9\r\n\r\nHTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
  ],
} as const;

/** Whole lines that frame, end or damage a message: random bytes seldom produce them. */
const lines = [
  'Content-Length: 3\r\n',
  'Content-Length: 0\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Connection: close\r\n',
  'Connection: keep-alive\r\n',
  'Connection: upgrade\r\n',
  'Upgrade: x\r\n',
  'Expect: 100-continue\r\n',
  'Host: b\r\n',
  'X: y\r\n',
  ' folded\r\n',
  '0\r\n\r\n',
  '3\r\nabc\r\n',
  'HTTP/1.0',
  'HTTP/1.1 200 OK\r\n',
  'GET / HTTP/1.1\r\n',
  '\r\n\r\n',
];

/** Inputs longer than this find nothing that shorter ones do not. */
const longest = 600;

/**
 * Mutates inputs, and keeps each that goes a new way: a fault, an error of Node's parser, a row of framings
 * that was not seen before. So it works itself into the corners by itself. Each input is held against Node's
 * parser, and against itself byte by byte and in two pieces. The same seed does the same again.
 */
export function fuzz(whose: 'request' | 'response', { seed, goesOn }: FuzzOptions): FuzzReport {
  const random = mulberry32(seed);
  const below = (count: number) => Math.floor(random() * count);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const corpus: string[] = [...seeds[whose]];
  const ways = new Set<string>();
  const problems = new Map<string, string>();
  const mutate = (text: string): string => {
    const how = pick(['insert', 'replace', 'delete', 'double', 'splice', 'repeat', 'line'] as const);
    if (how === 'line') {
      // Mostly where a line begins.
      const begins = [
        0,
        ...Array.from(text.matchAll(/\n/g), ({ index }) => index + 1),
        below(text.length + 1),
      ];
      const at = pick(begins);
      return text.slice(0, at) + pick(lines) + text.slice(at);
    }
    if (how === 'splice') {
      const other = pick(corpus);
      return text.slice(0, below(text.length + 1)) + other.slice(below(other.length));
    }
    if (how === 'repeat') {
      const from = below(text.length);
      const part = text.slice(from, from + 1 + below(20));
      return text.slice(0, from) + part + text.slice(from);
    }
    return spoil(text, random(), how, pick(spoilers));
  };
  let runs = 0;
  for (; goesOn(runs); runs += 1) {
    let text = pick(corpus);
    for (let turn = below(4); turn >= 0; turn -= 1) text = mutate(text);
    text = text.slice(0, longest);
    const method = whose === 'response' && below(4) === 0 ? 'HEAD' : 'GET';
    const { way, problem } = compare(text, whose, method);
    const read = (pieces: readonly Buffer[]) =>
      JSON.stringify(whose === 'request' ? readRequests(pieces) : readResponses(pieces, method));
    const place = below(text.length + 1);
    const whole = read([bytes(text)]);
    const isSame =
      whole === read(byteByByte(text)) &&
      whole === read([bytes(text.slice(0, place)), bytes(text.slice(place))]);
    const found = problem ?? (isSame ? null : 'in pieces it is read in another way');
    const kind = found?.replace(/ message [0-9].*/, '');
    if (kind !== undefined && (problems.get(kind)?.length ?? Infinity) > text.length)
      problems.set(kind, text);
    if (ways.has(way)) continue;
    ways.add(way);
    corpus.push(text);
  }
  return { runs, ways: ways.size, problems };
}

/** A small generator of numbers from 0 to 1, the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
