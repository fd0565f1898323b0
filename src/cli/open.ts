import type { View } from '../app/state.ts';
import { isName } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { peerOwnerOfCommand } from '../lib/os.ts';
import { systemTimers, unlessAborted } from '../lib/timers.ts';
import { isoTime } from '../operations/format.ts';
import { instanceIn } from '../operations/health.ts';
import { lookAtProxy } from '../operations/look-at-proxy.ts';
import type { Changing } from '../operations/operation.ts';
import { addPerson, linkFor, pagesFor } from '../operations/person.ts';
import { chooseBrowser, startBrowser } from './connect/browser/browser.ts';
import { openLoopback } from './connect/browser/receive-code.ts';
import { atCommandLine, type Context } from './context.ts';
import { changingParts } from './operation-command.ts';
import { askOwner, probeOf } from './status/ask-proxy.ts';

export interface OpenOptions {
  readonly as?: string;
  readonly browser?: string;
  readonly print?: boolean;
  /** Ends the wait for the browser. */
  readonly signal?: AbortSignal;
}

/** Milliseconds that a browser has to start. */
const patienceMs = 20_000;

/** `sidekey open`: opens the dashboard in a browser, signed in. */
export async function open(context: Context, options: OpenOptions): Promise<void> {
  // Creates nothing if no proxy serves.
  await context.withView(assertServing);
  await context.withState(async (state) =>
    openSignedIn(context, await changingParts(context, state), options),
  );
}

/**
 * Opens the pages in a browser by a link that signs in once. Every user can read the arguments of a browser,
 * so they have an address of this process, which makes the link for the first program of this user that asks.
 */
export async function openSignedIn(
  { output, env, now }: Pick<Context, 'output' | 'env' | 'now'>,
  parts: Changing,
  { as, browser, print = false, signal }: OpenOptions,
  { ownerOf = peerOwnerOfCommand, timers = systemTimers } = {},
): Promise<void> {
  const person = as ?? (await ownPerson(parts));
  const pages = await pagesFor(parts, person);
  const printLink = async () => {
    const { url, expiresAt } = await linkFor(parts, person, 'open');
    output.result({ person, url, expires_at: isoTime(expiresAt) }, url);
    output.say(`Signs in as ${person}, once, within a minute.`);
  };
  if (print) return printLink();
  const { promise: opened, resolve, reject } = Promise.withResolvers<string>();
  opened.catch(() => undefined);
  const hint = remedy('open', { print: true });
  const fail = (sentence: string) => reject(new SidekeyError('consent_missing', sentence, { hint }));
  const loopback = await openLoopback({ kind: 'loopback', host: '127.0.0.1', port: 0, path: '/' });
  const cancel = timers.after(patienceMs, () => fail('No browser came within 20 seconds.'));
  try {
    const launchUrl = loopback.expect({
      async launched(socket) {
        if ((await ownerOf(socket)) !== 'own')
          fail('A program of another or an unknown user came instead of the browser.');
        else linkFor(parts, person, 'open').then(({ url }) => resolve(url), reject);
        return opened;
      },
    });
    const choice = chooseBrowser(launchUrl, browser, { platform: process.platform, env });
    if (choice.kind === 'none') {
      const sentence = `No browser was opened: ${choice.why}.`;
      if (!output.isTerminal) throw new SidekeyError('input_invalid', sentence, { hint });
      output.say(sentence);
      return await printLink();
    }
    const failed = (program: string, why: string) => fail(`The browser did not open: ${program} ${why}.`);
    startBrowser(choice.commands, { env, now, failed });
    await unlessAborted(opened, signal);
    output.result({ person, pages }, `Opened ${pages} in your browser, signed in as ${person}.`);
  } finally {
    cancel();
    await loopback.close();
  }
}

/** Returns the person named as the user of the system. Creates a missing one as an operator. */
async function ownPerson(parts: Changing): Promise<string> {
  const { env, store, now } = parts;
  const [user = ''] = (atCommandLine(env).by ?? '').split(' (as ');
  const written = user.replace('@', '_at_').replaceAll(/[^\w.-]+/g, '_');
  const name = isName(written) ? written : 'operator';
  if ((await store.people.get(name)) === null) await addPerson(parts, { name, role: 'operator' }, now());
  return name;
}

/**
 * Refuses to open what another program serves: it could use the link at the right address.
 *
 * @throws SidekeyError `upstream_unreachable`
 */
async function assertServing(view: View): Promise<void> {
  const { config } = view;
  const { listen, tls } = config.admin;
  const { needs } = await lookAtProxy(config, await instanceIn(view), probeOf(config));
  const [need] = needs;
  if (need !== undefined)
    throw new SidekeyError('upstream_unreachable', need.sentence, { hint: need.hint ?? remedy('start') });
  // Without an address, `pagesFor` says so. With TLS, the certificate identifies the server.
  if (listen === null || tls !== null || (await askOwner(listen)) === 'own') return;
  throw new SidekeyError('upstream_unreachable', 'The dashboard is not served by a program of yours.', {
    hint: remedy('start'),
  });
}
