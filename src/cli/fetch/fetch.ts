import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { exitCode } from '../../lib/failures.ts';
import { caughtFailure, SidekeyError } from '../../lib/errors.ts';
import { type Hint, hintOf, hintText, remedy, withHint } from '../../lib/hint.ts';
import { replaceRemedy } from '../../grants/token-result.ts';
import { createDomainMap } from '../../proxy/policy/domain-map.ts';
import { explainRequest } from '../../operations/explain.ts';
import { ask, chunksOf, envelopeOf, wholeBody } from '../../operations/proxied-request.ts';
import { parseAbsoluteTarget } from '../../proxy/policy/authority.ts';
import type { Recorded } from '../../operations/request-rights.ts';
import type { Answer, Hop } from '../../proxy/upstream/through-proxy.ts';
import type { Context } from '../context.ts';
import { perform } from '../operation-command.ts';
import { openOutputFile, refuseExisting, unwritable } from '../output-file.ts';
import { onInterrupt } from '../terminal.ts';
import { type FetchOptions, readQuestion } from './request.ts';
import { openEndpoint, type ProxyEndpoint } from './send.ts';

/** Returns the next step after a 401: to replace the credential that was sent, or to see why none was. */
async function unauthorizedHint(
  context: Context,
  { method, url }: Pick<Hop, 'method' | 'url'>,
  recorded: Recorded | null,
): Promise<Hint> {
  const grant = recorded?.grant ?? null;
  // A query may contain a secret.
  const [withoutQuery = ''] = url.split('?', 1);
  if (grant === null)
    return hintOf`${remedy('domain.explain', { method, url: withoutQuery })} shows which credential the request gets`;
  const config = await context.readConfig().catch(caughtFailure);
  const provider = config instanceof SidekeyError ? undefined : config.providers.get(grant.provider);
  return hintOf`the server may have ended the credential of ${grant.name}; to replace it: ${replaceRemedy(grant, [], provider)}`;
}

/**
 * Names the entry of the map that almost covers the host of a request. Returns whether the config has one.
 */
async function reportNearEntry(
  context: Context,
  url: string,
  { agent }: Pick<FetchOptions, 'agent'>,
): Promise<boolean> {
  const target = parseAbsoluteTarget(url);
  const config = await context.readConfig().catch(caughtFailure);
  if (target === null || config instanceof SidekeyError) return false;
  if (createDomainMap(config.domains).match(target.authority) !== null) return false;

  const explained = await perform(context, explainRequest, { fixed: { url, agent } }).catch(caughtFailure);
  if (explained instanceof SidekeyError || explained.result.advice === null) return false;
  const { advice, steps } = explained.result;
  const reason = steps.find(({ step }) => step === 'domain')?.text ?? '';
  context.output.say(withHint(`Sent without a credential: ${reason}.`, advice));
  return true;
}

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
    const endpoint = await openEndpoint(context, options, second !== undefined);
    try {
      const { answer, hop } = await ask(endpoint, question, options.location === true, stop.signal);
      await deliver(answer, { url: hop.url, endpoint, options, output, signal: stop.signal });
      if (answer.status < 400) return exitCode.ok;
      output.say(`${new URL(hop.url).host} answered ${answer.status}.`);
      const isExplained = await reportNearEntry(context, hop.url, options);
      if (answer.status === 401 && !isExplained) {
        const hint = await unauthorizedHint(context, hop, await endpoint.recorded(answer.client));
        output.say(`  → ${hintText(hint)}`);
      }
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
  const body =
    file === undefined
      ? { bytes: await wholeBody(response, delivery.signal) }
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

function headOf({ httpVersion, statusCode, statusMessage, rawHeaders }: IncomingMessage): Buffer {
  let head = `HTTP/${httpVersion} ${statusCode} ${statusMessage}\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  return Buffer.from(`${head}\r\n`, 'latin1');
}
