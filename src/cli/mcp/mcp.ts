import { createInterface } from 'node:readline';
import { isObject, jsonObject } from '../../grants/oauth/http.ts';
import { errorPhrase, SidekeyError } from '../../lib/errors.ts';
import { asMembers, hintText, type Remedy, type RemedyId } from '../../lib/hint.ts';
import type { Context } from '../context.ts';
import { openEndpoint } from '../fetch/send.ts';
import { packageVersion } from '../../lib/package-files.ts';
import { asTyped } from '../../lib/command-name.ts';
import { hintOf, type ToolParts, tools } from './tools.ts';

/**
 * Model Context Protocol on standard input and output (modelcontextprotocol.io, revisions 2024-11-05 to
 * 2025-11-25): one JSON-RPC 2.0 message per line. The server has only tools.
 */

const revisions = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'] as const;

/** Codes of JSON-RPC 2.0. */
const parseError = -32_700;
const methodNotFound = -32_601;
const invalidParams = -32_602;
const internalError = -32_603;

type Id = string | number | null;

interface Message {
  readonly id?: Id;
  readonly method?: unknown;
  readonly params?: unknown;
}

class ProtocolError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface McpOptions {
  readonly agent?: string;
  readonly proxy?: string;
}

/** `sidekey mcp`: serves until input ends and all calls have responses. Uses the proxy of `sidekey fetch`. */
export async function serveMcp(context: Context, options: McpOptions): Promise<void> {
  const { stdin, output } = context;
  const endpoint = await openEndpoint(context, options, true);
  const calls = new Map<Id, AbortController>();
  const underWay = new Set<Promise<void>>();

  function say(message: object): void {
    output.bytes(Buffer.from(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`));
  }

  async function answer({ method, params = {} }: Message, signal: AbortSignal): Promise<object> {
    if (!isObject(params)) throw new ProtocolError(invalidParams, 'The parameters are not an object.');
    switch (method) {
      case 'initialize': {
        const asked = revisions.find((each) => each === params['protocolVersion']);
        return {
          protocolVersion: asked ?? revisions[0],
          capabilities: { tools: {} },
          serverInfo: { name: 'sidekey', title: 'Sidekey', version: packageVersion() },
          instructions:
            'Sidekey adds credentials to requests. You have no key and need none. Call list first.',
        };
      }
      case 'ping':
        return {};
      case 'tools/list':
        return {
          tools: tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema })),
        };
      case 'tools/call': {
        const tool = tools.find(({ name }) => name === params['name']);
        if (tool === undefined)
          throw new ProtocolError(invalidParams, 'There is no such tool; tools/list has their names.');
        const { arguments: given = {} } = params;
        if (!isObject(given)) throw new ProtocolError(invalidParams, 'The arguments are not an object.');
        const parts: ToolParts = { endpoint, stdin, signal };
        return await result(() => tool.call(given, parts));
      }
      default:
        throw new ProtocolError(methodNotFound, 'The method is not supported.');
    }
  }

  async function take(line: string): Promise<void> {
    const message: Message | null = jsonObject(line);
    if (message === null) {
      say({ id: null, error: { code: parseError, message: 'The line is not a JSON-RPC message.' } });
      return;
    }
    const { id, method, params } = message;
    if (method === 'notifications/cancelled')
      calls.get((isObject(params) ? params['requestId'] : null) as Id)?.abort();
    // Ignores notifications, and responses without a request.
    if (id === undefined || method === undefined) return;
    const stop = new AbortController();
    calls.set(id, stop);
    const said = await answer(message, stop.signal).then(
      (found) => ({ result: found }),
      (error: unknown) => {
        if (error instanceof ProtocolError) return { error: { code: error.code, message: error.message } };
        if (!stop.signal.aborted) output.say(`A call failed: ${errorPhrase(error)}`);
        const message = 'Sidekey failed; standard error of sidekey mcp has the cause.';
        return { error: { code: internalError, message } };
      },
    );
    calls.delete(id);
    if (!stop.signal.aborted) say({ id, ...said });
  }

  try {
    for await (const line of createInterface({
      input: stdin,
      crlfDelay: Infinity,
    })) {
      if (line.trim() === '') continue;
      const work = take(line).finally(() => underWay.delete(work));
      underWay.add(work);
    }
    await Promise.all(underWay);
  } finally {
    await endpoint.close();
  }
}

/** Returns the result of a call. A failure is also a result, for the model to read. */
async function result(call: () => Promise<string>): Promise<object> {
  try {
    return { content: [{ type: 'text', text: await call() }] };
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const { code, message, hint } = error;
    const wayOut = asTyped(asMembers(hintText([hint].flat().map(asTool))));
    const text = `${asMembers(message)} (${code})\n${hintOf(wayOut)}`;
    return { content: [{ type: 'text', text }], isError: true };
  }
}

/** Tools that do what an operation of a hint does. */
const toolsFor: Partial<Record<RemedyId, string>> = {
  'grant.list': 'list',
  'domain.list': 'list',
  'domain.explain': 'explain',
  fetch: 'request',
};

function asTool(part: string | Remedy): string | Remedy {
  const name = typeof part === 'string' ? undefined : toolsFor[part.operation];
  return name === undefined ? part : `the tool ${name}`;
}
