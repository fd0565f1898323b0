import { createRequire } from 'node:module';

/**
 * Node's own HTTP/1.1 parser (llhttp, strict), without a server around it: for comparison. Node says of the
 * module that it is internal, and has no other way to it.
 */
export interface NodeParser {
  /** Takes the next bytes of a connection. Answers how many it took, or the code of its refusal. */
  execute(bytes: Buffer): number | string;
  /** The connection has ended. Answers the code of its refusal, where there is one. */
  finish(): string | null;
}

/** Results of the parser, in its order. */
export interface NodeEvents {
  head?(found: NodeHead): void;
  body?(bytes: Buffer): void;
  end?(trailers: readonly string[]): void;
  /** True if the message has no body, whatever its head contains (HEAD, CONNECT). */
  skipsBody?(): boolean;
}

export interface NodeHead {
  readonly major: number;
  readonly minor: number;
  readonly fields: readonly string[];
  readonly method: string | null;
  readonly target: string;
  readonly status: number;
  readonly reason: string;
  readonly upgrade: boolean;
  readonly persists: boolean;
}

interface Internal {
  initialize(type: number, resource: object, maxHeadSize: number, lenient: number): void;
  execute(bytes: Buffer): number | (Error & { code: string });
  finish(): undefined | (Error & { code: string });
  [event: number]: unknown;
}

const require = createRequire(import.meta.url);
const { HTTPParser, methods } = require('_http_common') as {
  HTTPParser: (new () => Internal) & Record<string, number>;
  methods: readonly string[];
};

export function createNodeParser(whose: 'request' | 'response', events: NodeEvents = {}): NodeParser {
  const parser = new HTTPParser();
  const type = HTTPParser[whose === 'request' ? 'REQUEST' : 'RESPONSE']!;
  parser.initialize(type, {}, 65_536, HTTPParser['kLenientNone']!);
  // Where there are many fields, or trailers, they come in parts.
  let early: string[] = [];
  let earlyTarget = '';
  parser[HTTPParser['kOnHeaders']!] = (fields: string[], target: string) => {
    early.push(...fields);
    earlyTarget += target;
  };
  parser[HTTPParser['kOnHeadersComplete']!] = (
    major: number,
    minor: number,
    fields: string[] | undefined,
    method: number | undefined,
    target: string | undefined,
    status: number | undefined,
    reason: string | undefined,
    upgrade: boolean,
    persists: boolean,
  ) => {
    events.head?.({
      major,
      minor,
      fields: [...early, ...(fields ?? [])],
      method: method === undefined ? null : (methods[method] ?? null),
      target: earlyTarget + (target ?? ''),
      status: status ?? 0,
      reason: reason ?? '',
      upgrade,
      persists,
    });
    early = [];
    earlyTarget = '';
    return events.skipsBody?.() === true ? 1 : 0;
  };
  parser[HTTPParser['kOnBody']!] = (body: Buffer) => events.body?.(body);
  parser[HTTPParser['kOnMessageComplete']!] = () => {
    events.end?.(early);
    early = [];
    earlyTarget = '';
  };
  return {
    execute(bytes) {
      const taken = parser.execute(bytes);
      return typeof taken === 'number' ? taken : taken.code;
    },
    finish() {
      return parser.finish()?.code ?? null;
    },
  };
}
