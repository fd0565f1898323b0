import { isJsonObject, type Json, type JsonObject, parseStrictJson } from '../../lib/json.ts';
import { decodeUtf8, type JsonRpcCall } from './body.ts';
import { stepOf } from './judge.ts';
import { ReadRequest, type RequestFacts } from './request.ts';
import type { CompiledRule, DomainRules } from './rule.ts';
import { ambiguous, memberOf } from './text.ts';

/** Lists of tools in responses to `tools/list` (Model Context Protocol), limited to allowed tools. */

/**
 * Reports whether rules may allow a call of a tool, with some arguments.
 *
 * @param facts of the `tools/list` request, or of a `GET` that opens the stream with the responses
 */
export function mayCallTool(
  { rules, default: otherwise, mode }: DomainRules,
  facts: RequestFacts,
  tool: string,
): boolean {
  if (mode === 'report') return true;
  const call: JsonRpcCall = { method: 'tools/call', tool, arguments: ambiguous };
  const body = { graphql: [], jsonrpc: [call] };
  const isStream = facts.method === 'GET';
  const posted = isStream ? { method: 'POST', contentType: 'application/json' } : {};
  const request = new ReadRequest({ ...facts, ...posted, upgrades: false, contentLength: null, body });
  for (const compiled of rules) {
    const { result, outcome } = stepOf(isStream ? atAnyAddress(compiled) : compiled, request);
    if (result === 'no') continue;
    if (outcome !== 'deny') return true;
    if (result === 'yes') return false;
  }
  return otherwise !== 'deny';
}

/** The calls of a stream may go to another address (HTTP with SSE, of the specification of 2024-11-05). */
function atAnyAddress(compiled: CompiledRule): CompiledRule {
  if (compiled.rule.conditions.jsonrpc === null) return compiled;
  const checks = compiled.checks.filter(({ condition }) => condition !== 'paths' && condition !== 'query');
  return { ...compiled, checks };
}

/** A JSON function that keeps the digits of numbers (ECMA-262, JSON.parse source text access). */
const { rawJSON } = JSON as typeof JSON & { readonly rawJSON: (text: string) => unknown };

function withDigits(_: string, value: unknown, { source }: { readonly source: string }): unknown {
  return typeof value === 'number' ? rawJSON(source) : value;
}

type Message = { readonly result?: { tools?: unknown } | null } | null;
type Tool = { readonly name?: unknown } | null;

/**
 * Removes tools from the results of `tools/list` in a JSON-RPC message or batch. Returns null if programs may
 * read the text in different ways.
 *
 * @param isListed reports whether a tool stays
 */
export function withoutTools(json: Uint8Array, isListed: (tool: string) => boolean): string | null {
  const text = decodeUtf8(json) ?? '';
  const read = parseStrictJson(text);
  if (read === undefined || !(Array.isArray(read) ? read : [read]).every(isClear)) return null;
  const value: unknown = JSON.parse(text, withDigits as (key: string, value: unknown) => unknown);
  for (const message of (Array.isArray(value) ? value : [value]) as readonly Message[]) {
    const result = message?.result;
    if (!Array.isArray(result?.tools)) continue;
    const tools = result.tools as readonly Tool[];
    result.tools = tools.filter((tool) => typeof tool?.name === 'string' && isListed(tool.name));
  }
  return JSON.stringify(value);
}

/** Reports whether all programs find the same tools, or none, in a message. */
function isClear(message: Json): boolean {
  if (!isJsonObject(message)) return !Array.isArray(message);
  const result = memberOf(message, 'result');
  if (!isJsonObject(result as Json)) return result !== ambiguous;
  const tools = memberOf(result as JsonObject, 'tools') ?? [];
  return Array.isArray(tools) && tools.every(hasClearName);
}

function hasClearName(tool: Json): boolean {
  return !isJsonObject(tool) || memberOf(tool, 'name') !== ambiguous;
}

const eventEnd = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)/g;
const byteOrderMark = /^\xef\xbb\xbf/;
const dataLine = /^data(?:: ?|$)/;
/** Other lines that stay: fields and comments in visible ASCII. Recipients ignore fields of other names. */
const otherLine = /^(?:(?:event|id|retry)?:[\t -~]*|event|id|retry)$/;
/** Characters in JSON at which some programs end a line (Python's `splitlines`). */
const lineEnds = /[\u0085\u2028\u2029]/g;

/** Rewrites the data of server-sent events (HTML §9.2.6). Texts are latin1: one character for each byte. */
export class EventRewriter {
  readonly #rewrite: (data: Buffer) => string | null;
  #held = '';

  /** @param rewrite returns the new JSON of an event, or null if programs may read the old one differently */
  constructor(rewrite: (data: Buffer) => string | null) {
    this.#rewrite = rewrite;
  }

  /** Number of bytes of the incomplete event. */
  get held(): number {
    return this.#held.length;
  }

  /** Returns the complete events, or null if programs may read one of them in different ways. */
  push(text: string): string | null {
    // An end may have begun in the previous text.
    eventEnd.lastIndex = Math.max(0, this.#held.length - 3);
    this.#held += text;
    const events: string[] = [];
    let start = 0;
    for (let end = eventEnd.exec(this.#held); end !== null; end = eventEnd.exec(this.#held)) {
      const event = this.#rewritten(this.#held.slice(start, eventEnd.lastIndex));
      if (event === null) return null;
      events.push(event);
      start = eventEnd.lastIndex;
    }
    this.#held = this.#held.slice(start);
    return events.join('');
  }

  /** Returns the remaining text, which some clients accept as an event; null: as in `push`. */
  end(): string | null {
    return this.#held === '' ? '' : this.#rewritten(this.#held);
  }

  #rewritten(event: string): string | null {
    const lines = event.split(/\r\n|\n|\r/).map((line) => line.replace(byteOrderMark, ''));
    const rest = lines.filter((line) => otherLine.test(line));
    const data = lines.filter((line) => dataLine.test(line)).map((line) => line.replace(dataLine, ''));
    const text = data.join('\n');
    // Every message contains an object. Other data, such as an address, stays.
    if (!text.includes('{')) return `${[...rest, ...data.map((line) => `data: ${line}`)].join('\n')}\n\n`;
    const json = this.#rewrite(Buffer.from(text, 'latin1'));
    if (json === null) return null;
    const escaped = json.replace(lineEnds, (end) => `\\u${end.charCodeAt(0).toString(16).padStart(4, '0')}`);
    return `${[...rest, `data: ${Buffer.from(escaped).toString('latin1')}`].join('\n')}\n\n`;
  }
}
