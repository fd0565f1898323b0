import { inputInvalid, SidekeyError } from '../../../lib/errors.ts';
import { hintText } from '../../../lib/hint.ts';
import { asTyped } from '../../../lib/package-files.ts';
import {
  type Authorization,
  authorizationUrl,
  type Callback,
  exchangeCode,
} from '../../../grants/oauth/authorization-code.ts';
import type { Lines } from '../../terminal.ts';
import {
  chooseBrowser,
  type FinishPage,
  redirectOf,
  startBrowser,
  writtenRedirectUri,
} from '../browser/browser.ts';
import { askForAnswer, type Loopback, openLoopback, type PasteExpectation } from '../browser/receive-code.ts';
import type { ConnectRequest } from '../request.ts';
import type { Obtained } from '../../../grants/keep.ts';

/**
 * Runs a consent in a browser (RFC 6749 §4.1, RFC 7636, RFC 8252). Stores the credential before it returns,
 * unlike other flows, so that the browser's page has the final result.
 *
 * @throws SidekeyError as `consentInBrowser` and `exchangeCode`; errors of `keep`
 */
export function byAuthorizationCode<T>(
  request: ConnectRequest,
  keep: (obtained: Obtained) => Promise<T>,
  page: (kept: T) => Omit<FinishPage, 'kind'>,
): Promise<T> {
  const { provider, scopes } = request;
  let begun: Authorization;
  return consentInBrowser(request, {
    async begin(redirectUri): Promise<BegunConsent> {
      begun = await authorizationUrl({ provider, redirectUri, scopes });
      return { url: begun.url, state: begun.state, takesBareCode: takesBareCode(request, begun) };
    },
    finish: async (callback, redirectUri) =>
      keep(await obtainByCode(request, { ...begun, redirectUri, acceptBareCode: true }, callback)),
    page,
  });
}

/** Reports whether a bare code is accepted: only PKCE binds it to its flow, and nothing to an account. */
function takesBareCode(
  { provider }: Pick<ConnectRequest, 'provider'>,
  { codeVerifier }: Pick<Authorization, 'codeVerifier'>,
): boolean {
  return codeVerifier !== null && provider.dialect.accountParameters.length === 0;
}

/** Secrets of a started flow, of this or another process. */
interface BegunCode extends Pick<Authorization, 'state' | 'codeVerifier'> {
  /** DPoP key of the flow; undefined or null: none. */
  readonly proofKey?: Authorization['proofKey'];
  readonly redirectUri: string;
  /** See `exchangeCode`. */
  readonly acceptBareCode: boolean;
}

/** Exchanges the code of a callback. @throws SidekeyError as `exchangeCode` */
export async function obtainByCode(
  { context, state, upstream, provider, scopes }: Omit<ConnectRequest, 'options' | 'signal' | 'existing'>,
  begun: BegunCode,
  callback: Callback,
): Promise<Obtained> {
  return exchangeCode({
    ...begun,
    provider,
    callback,
    scopes,
    fetch: upstream.fetch,
    now: context.now,
    // Ignores Ctrl-C and the time limit, because the code cannot be sent twice.
    signal: AbortSignal.timeout(state.config.limits.refresh_timeout),
  });
}

/** A consent in a browser, independent of its request and response. */
interface BrowserConsent<T> {
  /** Called once, when the redirect URI is known. */
  readonly begin: (redirectUri: string) => Promise<BegunConsent>;
  /** Called once, with a response for this flow. A rejection is shown in the browser, and thrown. */
  readonly finish: (callback: Callback, redirectUri: string) => Promise<T>;
  readonly page: (result: T) => Omit<FinishPage, 'kind'>;
}

interface BegunConsent extends PasteExpectation {
  readonly url: string;
}

export interface ConsentRequest extends Pick<ConnectRequest, 'context' | 'options' | 'signal'> {
  readonly provider: Parameters<typeof redirectOf>[1];
}

/**
 * Opens the consent page in a browser. Waits for the callback or a pasted response, whichever is first.
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`, `input_invalid`, `bad_request`; the reason of the
 * signal; errors of `begin` and `finish`
 */
export async function consentInBrowser<T>(request: ConsentRequest, consent: BrowserConsent<T>): Promise<T> {
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
  const loopback = target.kind === 'elsewhere' ? null : await listen(mustPaste, () => openLoopback(target));
  let lines: Lines | null = null;
  try {
    const redirectUri = loopback?.redirectUri ?? writtenRedirectUri(target);
    const begun = await consent.begin(redirectUri);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // The caller may have stopped waiting.
    promise.catch(() => undefined);

    let isFinishing = false;
    const finish = (callback: Callback): Promise<T> => {
      isFinishing = true;
      const finishing = consent.finish(callback, redirectUri);
      finishing.then(resolve, reject);
      return finishing;
    };
    let strangers = 0;
    const launchUrl = loopback?.expect({
      consentUrl: begun.url,
      state: begun.state,
      async answered(parameters) {
        if (isFinishing) return pastedAlready;
        return finish({ kind: 'parameters', parameters }).then(
          (result): FinishPage => ({ kind: 'done', ...consent.page(result) }),
          (error: unknown) => failurePage(provider, error),
        );
      },
      stranger() {
        strangers += 1;
        // Printed once, so that repeated requests do not flood the terminal.
        if (strangers === 1)
          say('Something came back that is not the answer to this consent; it was ignored.');
      },
    });

    lines = context.openLines();
    const hasBrowser = show(request, begun.url, launchUrl ?? begun.url);
    const asks = mustPaste || (!hasBrowser && lines.isTerminal);
    if (!asks && !hasBrowser) say(elsewhere);
    if (asks) {
      const where = lines.isTerminal ? 'paste it here' : 'write it to standard input';
      say(`If the browser ends on an error page, copy its address.\n  → ${where}\n`);
      askForAnswer(lines, say, begun).then(
        (callback) => {
          if (callback !== null && !isFinishing) finish(callback).catch(() => undefined);
        },
        (error: unknown) => {
          if (!isFinishing) reject(error);
        },
      );
    }
    return await untilAborted(promise, signal, () => isFinishing);
  } finally {
    lines?.close();
    await loopback?.close();
  }
}

/** Opens the listener. Optional with `--paste`, it serves a browser on this machine or a forwarded port. */
async function listen(mayFail: boolean, open: () => Promise<Loopback>): Promise<Loopback | null> {
  try {
    return await open();
  } catch (error) {
    if (mayFail && error instanceof SidekeyError) return null;
    throw error;
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

/** Waits until the signal aborts. Always processes a received response, because its code works only once. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal, isFinishing: () => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      if (!isFinishing()) reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    if (signal.aborted) onAbort();
  });
}

/** Returns a page with the error that the terminal shows. */
function failurePage({ title }: ConsentRequest['provider'], error: unknown): FinishPage {
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
