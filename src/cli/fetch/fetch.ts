import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { exitCode, type FailureCode, failures } from '../../lib/failures.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { readBounded } from '../../lib/body.ts';
import { jsonObject } from '../../grants/oauth/http.ts';
import type { Context } from '../context.ts';
import { openOutputFile, refuseExisting, unwritable } from '../output-file.ts';
import { onInterrupt } from '../terminal.ts';
import { type FetchOptions, type Hop, type Question, readQuestion, readUrl } from './request.ts';
import { type Answer, askProxy, openEndpoint, placeOf, type Recorded, type ProxyEndpoint } from './send.ts';

/** Exit code of a program ended by SIGINT. */
const interrupted = 130;

/**
 * `sidekey fetch`: sends one request through a proxy, which processes it like any other. Exit code 5 for a
 * status of 400 and above, with the body on standard output.
 */
export async function fetchUrl(
  context: Context,
  first: string,
  second: string | undefined,
  options: FetchOptions,
): Promise<number> {
  const { output, stdin } = context;
  if (options.output !== undefined) await refuseExisting(options.output, options.force === true);
  const question = await readQuestion([first, second], options, stdin);
  if (question.hadAuthorization) {
    output.say('Note: your Authorization header is not sent: Sidekey sends the credential of the grant.');
  }
  const stop = new AbortController();
  const giveBack = onInterrupt(() => stop.abort(new Interrupted()));
  const late = timeLimit(question.maxTimeMs, stop);
  try {
    const endpoint = await openEndpoint(context, options);
    try {
      const { answer, hop } = await ask(endpoint, question, options.location === true, stop.signal);
      await deliver(answer, { url: hop.url, endpoint, options, output, signal: stop.signal });
      if (answer.status < 400) return exitCode.ok;
      output.say(`${new URL(hop.url).host} answered ${answer.status}.`);
      return exitCode.upstreamRefused;
    } finally {
      await endpoint.close();
    }
  } catch (error) {
    if (error instanceof Interrupted) return interrupted;
    throw error;
  } finally {
    clearTimeout(late);
    giveBack();
  }
}

/** Returns the final response after redirects. @throws SidekeyError of a refusal by the proxy */
export async function ask(
  endpoint: ProxyEndpoint,
  { hop: first, user }: Question,
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

function timeLimit(ms: number | null, stop: AbortController): NodeJS.Timeout | undefined {
  if (ms === null) return undefined;
  const sentence = `The response was not complete after ${ms / 1_000} s.`;
  return setTimeout(() => stop.abort(new SidekeyError('upstream_timeout', sentence)), ms);
}

class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

interface Delivery {
  readonly url: string;
  readonly endpoint: ProxyEndpoint;
  readonly options: Pick<FetchOptions, 'include' | 'output' | 'force'>;
  readonly output: Context['output'];
  readonly signal: AbortSignal;
}

/** Bytes. The JSON object is built in memory. */
const maxInlineBytes = 8 * 1_024 * 1_024;

/**
 * Streams the response to standard output or a file; with `--json` returns it as one object.
 *
 * @throws SidekeyError `upstream_protocol` if it is truncated, `file_unwritable`, `input_invalid` if it is
 * too large for the object; the reason of `signal`
 */
async function deliver(answer: Answer, delivery: Delivery): Promise<void> {
  const { url, endpoint, options, output } = delivery;
  const { response, status, client } = answer;
  const file = options.output;
  if (options.include === true && !output.json) output.bytes(headOf(response));
  if (!output.json) {
    if (file === undefined) await toOutput(response, delivery);
    else await toFile(response, file, delivery);
    return;
  }
  const body: Answered['body'] =
    file === undefined
      ? { bytes: await whole(response, delivery) }
      : { file, length: await toFile(response, file, delivery) };
  const recorded = await endpoint.recorded(client);
  output.result(envelopeOf({ url, status, headers: response.headers, body, recorded }), '');
}

async function toOutput(response: IncomingMessage, { output, signal }: Delivery): Promise<void> {
  for await (const chunk of chunksOf(response, signal)) {
    output.bytes(chunk);
    await output.drained();
  }
}

/** Returns the number of bytes. The file gets the default mode, as with curl. */
async function toFile(
  response: IncomingMessage,
  file: string,
  { signal, options }: Delivery,
): Promise<number> {
  const written = (await openOutputFile(file, options.force === true)).createWriteStream();
  try {
    await pipeline(chunksOf(response, signal), written);
  } catch (error) {
    if (error instanceof SidekeyError || signal.aborted) throw error;
    throw unwritable(file, error);
  }
  return written.bytesWritten;
}

async function whole(response: IncomingMessage, { signal }: Delivery): Promise<Buffer> {
  const body = await readBounded(chunksOf(response, signal), maxInlineBytes);
  if (body !== null) return body;
  throw new SidekeyError(
    'input_invalid',
    `The response is larger than ${maxInlineBytes} bytes, too large for --json.`,
    {
      hint: 'sidekey fetch --json -o FILE URL, or without --json',
    },
  );
}

async function* chunksOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* response as AsyncIterable<Buffer>;
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new SidekeyError('upstream_protocol', 'The connection ended before the response was complete.', {
      cause,
    });
  }
}

function headOf({ httpVersion, statusCode, statusMessage, rawHeaders }: IncomingMessage): Buffer {
  let head = `HTTP/${httpVersion} ${statusCode} ${statusMessage}\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  return Buffer.from(`${head}\r\n`, 'latin1');
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
function envelopeOf({ url, status, headers, body, recorded }: Answered): Readonly<Record<string, unknown>> {
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

const maxRedirects = 20;

/** Fields that a redirect to another host keeps. None can contain a key or select a grant. */
const forEverybody = new Set(['user-agent', 'accept', 'accept-language', 'content-type', 'sidekey-reason']);

/**
 * Returns the request of a redirect (RFC 9110 §15.4); null: no redirect. The proxy checks it like any other,
 * and adds only the credential of the new host.
 *
 * @throws SidekeyError `input_invalid` if its body cannot be sent again, `upstream_protocol` if the location
 * is invalid
 */
export function nextHop(hop: Hop, status: number, location: string | undefined): Hop | null {
  if (location === undefined || ![301, 302, 303, 307, 308].includes(status)) return null;
  const url = resolved(location, hop.url);
  const { method } = hop;
  const isNew = (status === 303 && method !== 'HEAD') || (status < 303 && method === 'POST');
  const body = isNew ? null : hop.body;
  if (body?.repeatable === false) {
    throw new SidekeyError(
      'input_invalid',
      'The redirect needs the body a second time, and the body cannot be read again.',
      {
        hint: 'give it as a file: --data-file FILE',
      },
    );
  }
  const isElsewhere = new URL(url).origin !== new URL(hop.url).origin;
  const fields = hop.fields.filter(([name]) => {
    const lower = name.toLowerCase();
    return (!isElsewhere || forEverybody.has(lower)) && (body !== null || !lower.startsWith('content-'));
  });
  return { method: isNew ? 'GET' : method, url, fields, body };
}

function resolved(location: string, from: string): string {
  try {
    // Non-ASCII bytes of a field are UTF-8.
    const text = Buffer.from(location, 'latin1').toString('utf8');
    return readUrl(new URL(text, from).href);
  } catch {
    throw new SidekeyError('upstream_protocol', 'The redirect does not lead to an http or https URL.');
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
