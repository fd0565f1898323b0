import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { readBounded } from '../lib/body.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { type FailureCode, failures } from '../lib/failures.ts';
import { jsonObject } from '../grants/oauth/http.ts';
import { type Answer, askProxy, type Hop, type ProxyPlace } from '../proxy/upstream/through-proxy.ts';
import type { OutgoingRequest } from './outgoing-request.ts';
import { nextHop } from './redirect.ts';
import type { Recorded } from './request-rights.ts';

/** Requests that Sidekey sends through its own proxy, which checks them like any others. */

/** A proxy on this machine, and who asks it. */
export interface ProxyAddress {
  readonly host: string;
  readonly port: number;
  /** `name:token`, both empty for an anonymous caller. */
  readonly userInfo: string;
}

/** Returns the proxy with the caller's credentials. The selector follows the user name. */
export function placeOf({ host, port, userInfo }: ProxyAddress, user: string | null): ProxyPlace {
  const [name = '', ...rest] = userInfo.split(':');
  const who = `${name}${user === null ? '' : `+user=${user}`}:${rest.join(':')}`;
  return {
    host,
    port,
    authorization: who === ':' ? null : `Basic ${Buffer.from(who, 'utf8').toString('base64')}`,
  };
}

const maxRedirects = 20;

/** Returns the final response after redirects. @throws SidekeyError of a refusal by the proxy */
export async function ask(
  endpoint: ProxyAddress,
  { hop: first, user }: OutgoingRequest,
  follows: boolean,
  signal: AbortSignal,
): Promise<{ readonly answer: Answer; readonly hop: Hop }> {
  let hop = first;
  for (let count = 0; count <= maxRedirects; count += 1) {
    const answer = await askProxy(placeOf(endpoint, user), hop, signal);
    const refusal = await refusedBy(answer.response);
    if (refusal !== null) throw refusal;
    const next = follows ? nextHop(hop, answer.status, answer.response.headers.location) : null;
    if (next === null) return { answer, hop };
    answer.response.destroy();
    hop = next;
  }
  throw new SidekeyError('upstream_protocol', `There were more than ${maxRedirects} redirects.`);
}

/** Yields the body. @throws SidekeyError `upstream_protocol` if it is truncated; the reason of `signal` */
export async function* chunksOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* response as AsyncIterable<Buffer>;
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new SidekeyError('upstream_protocol', 'The connection ended before the response was complete.', {
      cause,
    });
  }
}

/** Bytes. The body of an answer for programs is in memory. */
const maxInlineBytes = 8 * 1_024 * 1_024;

/** Returns the whole body. @throws SidekeyError `input_invalid` if it is too large; as `chunksOf` */
export async function wholeBody(response: IncomingMessage, signal: AbortSignal): Promise<Buffer> {
  const body = await readBounded(chunksOf(response, signal), maxInlineBytes);
  if (body !== null) return body;
  throw inputInvalid(
    `The response is larger than ${maxInlineBytes} bytes, too large for --json.`,
    'name a file for the body with -o FILE, or leave --json out',
  );
}

/** The response to a request, for programs. */
interface Answered {
  readonly url: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: { readonly bytes: Buffer } | { readonly file: string; readonly length: number };
  /** Audit record; null: this process cannot read the audit log of the proxy. */
  readonly recorded: Recorded | null;
}

/** Returns the response as one JSON object. The body is text if it is UTF-8, else base64. */
export function envelopeOf({ url, status, headers, body, recorded }: Answered) {
  return {
    url,
    status,
    headers,
    ...('bytes' in body ? inlined(body.bytes) : { file: body.file, bytes: body.length }),
    grant: recorded?.grant ?? null,
    exchange: recorded?.exchange ?? null,
    agent: recorded?.agent ?? null,
    lease: recorded?.lease ?? null,
    approval: recorded?.approval ?? null,
  };
}

function inlined(bytes: Buffer): { body: string } | { body_base64: string } {
  try {
    return { body: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { body_base64: bytes.toString('base64') };
  }
}

/** Sidekey's problem documents have some hundred bytes. */
const maxProblemBytes = 65_536;

/** Returns the refusal; null: an upstream response, whose `Sidekey-Error` fields the proxy removes. */
async function refusedBy(response: IncomingMessage): Promise<SidekeyError | null> {
  const said = response.headers['sidekey-error'];
  if (said === undefined) return null;
  const code = typeof said === 'string' && Object.hasOwn(failures, said) ? (said as FailureCode) : 'internal';
  const body = await readBounded(response as AsyncIterable<Buffer>, maxProblemBytes);
  const problem = jsonObject(body?.toString('utf8') ?? '');
  const detail = textOf(problem?.['detail']) ?? `The proxy refused the request (${code}).`;
  const after = response.headers['retry-after'];
  const again = after === undefined ? '' : ` Try again in ${after} s.`;
  return new SidekeyError(code, `${detail}${again}`, { hint: textOf(problem?.['hint']) ?? undefined });
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
