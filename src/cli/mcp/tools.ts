import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import { readBounded } from '../../lib/body.ts';
import { inputInvalid } from '../../lib/errors.ts';
import { isObject, jsonObject } from '../../grants/oauth/http.ts';
import { howToPropose } from '../../proxy/policy/decide.ts';
import { parseAbsoluteTarget } from '../../proxy/policy/authority.ts';
import { textBody } from '../../operations/outgoing-request.ts';
import { ask, chunksOf } from '../../operations/proxied-request.ts';
import { readQuestion } from '../fetch/request.ts';
import type { ProxyEndpoint } from '../fetch/send.ts';
import type { Input } from '../terminal.ts';

/** Tools of the MCP server. The proxy checks their requests like any others. No tool approves. */

/** A tool as in `tools/list`, with its function. */
interface Tool {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: object;
  /** Returns text for the model. @throws SidekeyError */
  readonly call: (given: Readonly<Record<string, unknown>>, parts: ToolParts) => Promise<string>;
}

export interface ToolParts {
  readonly endpoint: ProxyEndpoint;
  readonly stdin: Input;
  /** Aborted when the client cancels the call. */
  readonly signal: AbortSignal;
}

const own = 'http://sidekey.internal';
/** Maximum bytes of a response for the model. */
const maxAnswerBytes = 262_144;

const text = (description: string) => z.string().describe(description);
const reason = text('Why you need it, for the audit log and for a person who is asked.');
const scopes = z.array(z.string());

/** Returns a tool that refuses arguments other than `input`. @throws SidekeyError `input_invalid` */
function toolOf<Input extends z.ZodObject>({
  input,
  call,
  ...row
}: Pick<Tool, 'name' | 'description'> & {
  readonly input: Input;
  readonly call: (given: z.output<Input>, parts: ToolParts) => Promise<string>;
}): Tool {
  return {
    ...row,
    inputSchema: z.toJSONSchema(input),
    async call(given, parts) {
      const read = input.safeParse(given);
      if (read.success) return call(read.data, parts);
      // A misspelt argument explains a missing one.
      const { issues } = read.error;
      const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
      const takes = Object.keys(input.shape).join(', ') || 'none';
      const problem =
        issue.code === 'unrecognized_keys'
          ? `${[row.name, ...issue.path].join('.')} has no argument ${issue.keys.join(', ')}; ${row.name} takes ${takes}`
          : `${issue.path.join('.')} is missing, or not valid`;
      throw inputInvalid(
        `The arguments of the tool are not valid: ${problem}.`,
        'tools/list has their schema',
      );
    },
  };
}

export const tools: readonly Tool[] = [
  toolOf({
    name: 'list',
    description: 'Lists the hosts that you may call, with their grants and rules. You need no key for them.',
    input: z.strictObject({}),
    call: (_given, parts) => send(parts, 'GET', `${own}/`),
  }),
  toolOf({
    name: 'explain',
    description: 'Says what you may do at the host of a URL: its grant, its rules, or how to ask for it.',
    input: z.strictObject({ url: text('An https:// URL.') }),
    call: explain,
  }),
  toolOf({
    name: 'propose',
    description:
      'Asks a person for a host, a grant of a provider, or more scopes of a grant. Give one of domain, grant and scope. The person answers elsewhere; ask for the state with proposal.',
    input: z.strictObject({
      domain: z
        .strictObject({
          host: text('One host.'),
          action: z.enum(['tunnel', 'grant']).describe('Without a credential, or with that of a grant.'),
          grant: text('The grant, with the action grant.').optional(),
        })
        .optional(),
      grant: z.strictObject({ provider: text('Such as github.'), scopes: scopes.optional() }).optional(),
      scope: z.strictObject({ grant: text('The grant.'), scopes }).optional(),
      reason,
    }),
    call: (given, parts) =>
      send(parts, 'POST', `${own}/proposals`, { 'Content-Type': 'application/json' }, JSON.stringify(given)),
  }),
  toolOf({
    name: 'proposal',
    description: 'Says whether a person has answered a proposal.',
    input: z.strictObject({ id: z.string().regex(/^[0-9a-z]{1,16}$/) }),
    call: ({ id }, parts) => send(parts, 'GET', `${own}/proposals/${id}`),
  }),
  toolOf({
    name: 'request',
    description:
      'Sends one HTTP request. Sidekey adds the credential, and may ask a person first. Answers the status, the type and the body. Follows no redirect.',
    input: z.strictObject({
      method: text('Default: GET, or POST with a body.').optional(),
      url: text('An https:// URL.'),
      headers: z.object({}).catchall(z.string()).optional(),
      body: text('The body, as text.').optional(),
      grant: text('The grant, where the host has several.').optional(),
      user: text('The user whose grant is meant, where several have one.').optional(),
      reason,
    }),
    call: ({ method, url, headers, body, ...selection }, parts) =>
      send(parts, method, url, headers, body, selection),
  }),
];

/** Returns the discovery entries of a URL's host. */
async function explain({ url }: { readonly url: string }, parts: ToolParts): Promise<string> {
  const target = parseAbsoluteTarget(url);
  if (target === null)
    throw inputInvalid('url is not an absolute http or https URL.', 'https://api.example.com/path');
  const { host, port } = target.authority;
  const index = jsonObject((await answerOf(parts, 'GET', `${own}/index.json`)).body) ?? {};
  const covers = (pattern: unknown) =>
    pattern === host ||
    pattern === `${host}:${port}` ||
    (typeof pattern === 'string' && pattern.startsWith('*.') && host.endsWith(pattern.slice(1)));
  const listOf = (name: string) => (Array.isArray(index[name]) ? (index[name] as unknown[]) : []);
  const entries = listOf('hosts').filter((each) => isObject(each) && covers(each['host']));
  if (entries.length > 0) return JSON.stringify(entries, null, 2);
  if (listOf('denied').some(covers)) return `${host} is refused by the domain map.`;
  if (listOf('tunnels').some(covers) || index['unmatched'] === 'tunnel')
    return `${host} is tunnelled: you may call it, and get no credential.`;
  return `${host} is not in the domain map, and is refused. To ask a person for it, use propose.`;
}

async function send(parts: ToolParts, ...request: RequestParts): Promise<string> {
  const { head, body } = await answerOf(parts, ...request);
  return `${head}\n\n${body}`;
}

/** Returns a hint for a model. */
export function hintOf(text: string): string {
  return `What would allow it: ${text.replace(howToPropose, 'the tool propose asks a person for it')}`;
}

type RequestParts = readonly [
  method: string | undefined,
  url: string,
  headers?: Readonly<Record<string, string>>,
  body?: string,
  selection?: {
    readonly grant?: string | undefined;
    readonly user?: string | undefined;
    readonly reason?: string;
  },
];

/** @throws SidekeyError of a refusal, or as `readQuestion` */
async function answerOf(
  { endpoint, stdin, signal }: ToolParts,
  ...[method, url, headers = {}, body, { grant, user, reason: why } = {}]: RequestParts
): Promise<{ readonly head: string; readonly body: string }> {
  const words = grant === undefined ? ([url, undefined] as const) : ([grant, url] as const);
  const header = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const request = method ?? (body === undefined ? 'GET' : 'POST');
  const question = await readQuestion(
    words,
    {
      request,
      header,
      ...(user === undefined ? {} : { user }),
      ...(why === undefined ? {} : { reason: why }),
    },
    stdin,
  );
  const hop = body === undefined ? question.hop : { ...question.hop, body: textBody(body) };
  const { answer } = await ask(endpoint, { ...question, hop }, false, signal);
  const { 'content-type': type, location, 'sidekey-hint': hint } = answer.response.headers;
  const facts = [`HTTP ${answer.status}`, type, location && `to ${location}`].filter(Boolean).join(', ');
  const head = hint === undefined ? facts : `${facts}\n${hintOf(String(hint))}`;
  const bytes = await readBounded(chunksOf(answer.response, signal), maxAnswerBytes);
  if (bytes === null)
    return { head, body: `(The body has more than ${maxAnswerBytes} bytes. Use sidekey fetch -o FILE.)` };
  return { head, body: isUtf8(bytes) ? bytes.toString() : `(The body is ${bytes.length} bytes, not text.)` };
}
