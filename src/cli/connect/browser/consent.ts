import { caughtFailure, inputInvalid, SidekeyError } from '../../../lib/errors.ts';
import { hintText } from '../../../lib/hint.ts';
import { asTyped } from '../../../lib/command-name.ts';
import type { Callback } from '../../../grants/oauth/authorization-code.ts';
import type { BrowserConsent } from '../../../operations/connect/consent.ts';
import {
  redirectOf,
  type RedirectSettings,
  writtenRedirectUri,
} from '../../../operations/connect/redirect.ts';
import type { ConnectRequest } from '../../../operations/connect/request.ts';
import type { Context } from '../../context.ts';
import type { Lines } from '../../terminal.ts';
import { chooseBrowser, type FinishPage, startBrowser } from './browser.ts';
import { askForAnswer, openLoopback } from './receive-code.ts';

/** A consent with the page that its result is shown on. */
interface ShownConsent<T> extends BrowserConsent<T> {
  readonly page: (result: T) => Omit<FinishPage, 'kind'>;
}

export interface ConsentRequest extends Pick<ConnectRequest, 'options' | 'signal'> {
  readonly context: Context;
  readonly provider: RedirectSettings;
}

/**
 * Opens the consent page in a browser. Waits for the callback or a pasted response, whichever is first.
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`, `input_invalid`, `bad_request`; the reason of the
 * signal; errors of `begin` and `finish`
 */
export async function consentInBrowser<T>(request: ConsentRequest, consent: ShownConsent<T>): Promise<T> {
  const { context, options, provider, signal } = request;
  const say = (text: string) => context.output.say(text);
  const mustPaste = options.paste === true;
  const target = redirectOf(options, provider);
  if (target.kind === 'elsewhere' && !mustPaste) {
    throw inputInvalid(
      'The redirect URI is not of this machine, so no answer arrives here.',
      'add --paste to bring the answer here yourself, or --print-url to do it later',
    );
  }
  signal.throwIfAborted();
  // Optional with `--paste`, the listener serves a browser on this machine or a forwarded port.
  const opened = target.kind === 'elsewhere' ? null : await openLoopback(target).catch(caughtFailure);
  if (opened instanceof SidekeyError && !mustPaste) throw opened;
  const loopback = opened instanceof SidekeyError ? null : opened;
  let lines: Lines | null = null;
  try {
    const redirectUri = loopback?.redirectUri ?? writtenRedirectUri(target);
    const begun = await consent.begin(redirectUri);
    const { promise, resolve, reject } = Promise.withResolvers<Callback>();
    // Nothing interrupts what follows the first answer, because its code works only once.
    const result = promise.then((callback) => consent.finish(callback, redirectUri));
    result.catch(() => undefined);
    const stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();

    let isPasted = false;
    let isReported = false;
    const launchUrl = loopback?.expect({
      launched: async () => begun.url,
      callback: {
        state: begun.state,
        async answered(parameters) {
          if (isPasted) return pastedAlready;
          resolve({ kind: 'parameters', parameters });
          return result.then(
            (value): FinishPage => ({ kind: 'done', ...consent.page(value) }),
            (error: unknown) => failurePage(provider, error),
          );
        },
        stranger() {
          // Printed once, so that repeated requests do not flood the terminal.
          if (!isReported) say('Something came back that is not the answer to this consent; it was ignored.');
          isReported = true;
        },
      },
    });

    lines = context.openLines();
    const hasBrowser = show(request, begun.url, launchUrl ?? begun.url);
    const asks = mustPaste || (!hasBrowser && lines.isTerminal);
    if (!asks && !hasBrowser) say(elsewhere);
    if (asks) {
      const where = lines.isTerminal ? 'paste it here' : 'write it to standard input';
      say(`If the browser ends on an error page, copy its address.\n  → ${where}\n`);
      askForAnswer(lines, say, begun).then((callback) => {
        if (callback === null) return;
        isPasted = true;
        resolve(callback);
      }, reject);
    }
    return await result;
  } finally {
    lines?.close();
    await loopback?.close();
  }
}

const elsewhere =
  'The browser must run on this machine.\n  → for a browser on another machine, run this command with --paste';

/** Prints the consent URL and opens it. Returns false if there is no browser to try. */
function show(
  { context, provider, options }: ConsentRequest,
  consentUrl: string,
  launchUrl: string,
): boolean {
  const { output, env, now } = context;
  const { browser, paste } = options;
  const isUnwanted = browser === false || (paste === true && browser === undefined);
  const choice = isUnwanted ? null : chooseBrowser(launchUrl, browser, { platform: process.platform, env });
  output.note(
    { provider: provider.name, consent_url: consentUrl },
    choice?.kind === 'commands'
      ? `Opening ${provider.title} in your browser. If nothing opens, go to:\n\n  ${consentUrl}\n`
      : `Open this address in a browser:\n\n  ${consentUrl}\n`,
  );
  if (choice?.kind === 'none') output.say(`No browser was opened: ${choice.why}.`);
  if (choice?.kind !== 'commands') return false;
  startBrowser(choice.commands, {
    env,
    now,
    failed: (program, why) =>
      output.say(`The browser did not open: ${program} ${why}.\n  → open the address above yourself`),
  });
  return true;
}

/** Returns a page with the error that the terminal shows. */
function failurePage({ title }: RedirectSettings, error: unknown): FinishPage {
  const known = error instanceof SidekeyError ? error : null;
  return {
    kind: 'failed',
    title: `${title} is not connected`,
    says: [
      known?.message ?? 'Internal error; the log of Sidekey names the place.',
      ...(known?.hint === undefined ? [] : [asTyped(`→ ${hintText(known.hint)}`)]),
      'The terminal says the same. You may close this window.',
    ],
  };
}

const pastedAlready: FinishPage = {
  kind: 'failed',
  title: 'Answered already',
  says: ['The answer was pasted at the terminal, and counts once.', 'You may close this window.'],
};
