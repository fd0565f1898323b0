import type { JsonRpcCall } from './body.ts';
import { stepOf } from './judge.ts';
import { ReadRequest, type RequestFacts } from './request.ts';
import type { DomainRules } from './rule.ts';
import { ambiguous } from './text.ts';

/** Lists of tools in answers to `tools/list` (Model Context Protocol), limited to those that rules may let through. */

/**
 * Reports whether rules may let a call of a tool through, with some arguments.
 *
 * @param facts of the request that asks for the list
 */
export function mayCallTool(
  { rules, default: otherwise, mode }: DomainRules,
  facts: RequestFacts,
  tool: string,
): boolean {
  if (mode === 'report') return true;
  const call: JsonRpcCall = { method: 'tools/call', tool, arguments: ambiguous };
  const request = new ReadRequest({
    ...facts,
    contentLength: null,
    body: { graphql: [], jsonrpc: [call] },
  });
  for (const compiled of rules) {
    const { result, outcome } = stepOf(compiled, request);
    if (result === 'no') continue;
    if (outcome !== 'deny') return true;
    if (result === 'yes') return false;
  }
  return otherwise !== 'deny';
}

/** A reader of JSON that keeps the digits of numbers (ECMA-262, JSON.parse source text access). */
const { rawJSON } = JSON as typeof JSON & { readonly rawJSON: (text: string) => unknown };

function withDigits(_: string, value: unknown, { source }: { readonly source: string }): unknown {
  return typeof value === 'number' ? rawJSON(source) : value;
}

function parseMessage(text: string): unknown {
  try {
    return JSON.parse(text, withDigits as (key: string, value: unknown) => unknown);
  } catch {
    return undefined;
  }
}

/**
 * Removes tools from the result of `tools/list` in a JSON-RPC message or batch. Null: there is nothing to remove.
 *
 * @param isListed reports whether a tool stays
 */
export function withoutTools(text: string, isListed: (tool: string) => boolean): string | null {
  const value = parseMessage(text);
  let removed = 0;
  for (const message of Array.isArray(value) ? (value as readonly unknown[]) : [value]) {
    const { result } = (message ?? {}) as { result?: { tools?: unknown } | null };
    if (typeof result !== 'object' || result === null || !Array.isArray(result.tools)) continue;
    const all = result.tools as readonly ({ readonly name?: unknown } | null)[];
    const kept = all.filter((tool) => typeof tool?.name === 'string' && isListed(tool.name));
    removed += all.length - kept.length;
    result.tools = kept;
  }
  return removed === 0 ? null : JSON.stringify(value);
}

const eventEnd = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)/g;

function isData(line: string): boolean {
  return /^data(?::|$)/.test(line);
}

/** Rewrites the data of server-sent events (HTML §9.2.6). All texts are latin1, one character for each byte. */
export class EventRewriter {
  readonly #rewrite: (data: string) => string | null;
  #held = '';

  /** @param rewrite returns other data for an event; null: it stays */
  constructor(rewrite: (data: string) => string | null) {
    this.#rewrite = rewrite;
  }

  /** Bytes of an event that is not complete. */
  get held(): number {
    return this.#held.length;
  }

  /** Returns the complete events. */
  push(text: string): string {
    // An end may have begun in the text before.
    eventEnd.lastIndex = Math.max(0, this.#held.length - 3);
    this.#held += text;
    let out = '';
    let start = 0;
    for (let end = eventEnd.exec(this.#held); end !== null; end = eventEnd.exec(this.#held)) {
      out += this.#rewritten(this.#held.slice(start, eventEnd.lastIndex));
      start = eventEnd.lastIndex;
    }
    this.#held = this.#held.slice(start);
    return out;
  }

  /** Returns the rest, which some clients take for an event. */
  end(): string {
    return this.#rewritten(this.#held);
  }

  #rewritten(event: string): string {
    const lines = event.split(/\r\n|\n|\r/);
    const data = lines.filter(isData).map((line) => line.replace(/^data:? ?/, ''));
    const other = this.#rewrite(Buffer.from(data.join('\n'), 'latin1').toString('utf8'));
    if (other === null) return event;
    const rest = lines.filter((line) => line !== '' && !isData(line)).map((line) => `${line}\n`);
    return `${rest.join('')}data: ${Buffer.from(other, 'utf8').toString('latin1')}\n\n`;
  }
}
