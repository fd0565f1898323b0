import { exitCode, SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { onInterrupt } from '../interrupt.ts';
import { askProxy, type Answer } from './ask-proxy.ts';
import { deliver } from './deliver.ts';
import { readQuestion, type FetchOptions, type Hop, type Question } from './question.ts';
import { mostHops, nextHop } from './redirect.ts';
import { refusedBy } from './refused.ts';
import { openWay, placeOf, type Way } from './way.ts';

/** What a shell says of a program that Ctrl-C ended. */
const interrupted = 130;

/**
 * `sidekey fetch`: one request through a proxy, decided, armed and recorded there as any other. Exit code 5 where the
 * upstream says no (400 and above), with what it says on standard output.
 */
export async function fetchUrl(
  context: Context,
  first: string,
  second: string | undefined,
  options: FetchOptions,
): Promise<number> {
  const { output, stdin } = context;
  const question = await readQuestion([first, second], options, stdin);
  if (question.hadAuthorization) {
    output.say('Note: the Authorization that was given is not sent: the credential is that of the grant.');
  }
  const stop = new AbortController();
  const giveBack = onInterrupt(() => stop.abort(new Interrupted()));
  const late = timeLimit(question.maxTimeMs, stop);
  try {
    const way = await openWay(context, options);
    try {
      const { answer, hop } = await ask(way, question, options.location === true, stop.signal);
      await deliver(answer, { url: hop.url, way, options, output, signal: stop.signal });
      if (answer.status < 400) return exitCode.ok;
      output.say(`${new URL(hop.url).host} answered ${answer.status}.`);
      return exitCode.upstreamRefused;
    } finally {
      await way.close();
    }
  } catch (error) {
    if (error instanceof Interrupted) return interrupted;
    throw error;
  } finally {
    clearTimeout(late);
    giveBack();
  }
}

/** The answer that is not a redirect to be followed. @throws SidekeyError a refusal of the proxy's */
async function ask(
  way: Way,
  { hop: first, user }: Question,
  follows: boolean,
  signal: AbortSignal,
): Promise<{ readonly answer: Answer; readonly hop: Hop }> {
  let hop = first;
  for (let count = 0; count <= mostHops; count += 1) {
    const answer = await askProxy(placeOf(way, user), hop, signal);
    const refusal = await refusedBy(answer.response);
    if (refusal !== null) throw refusal;
    const next = follows ? nextHop(hop, answer.status, answer.response.headers.location) : null;
    if (next === null) return { answer, hop };
    answer.response.destroy();
    hop = next;
  }
  throw new SidekeyError('upstream_protocol', `There were more than ${mostHops} redirects.`);
}

function timeLimit(ms: number | null, stop: AbortController): NodeJS.Timeout | undefined {
  if (ms === null) return undefined;
  const sentence = `There was no whole answer within ${ms / 1_000} s.`;
  return setTimeout(() => stop.abort(new SidekeyError('upstream_timeout', sentence)), ms);
}

class Interrupted extends Error {
  override readonly name = 'Interrupted';
}
