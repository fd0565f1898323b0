import { spawn } from 'node:child_process';
import { splitCommandLine } from '../../../config/locate.ts';
import type { Provider } from '../../../domain/provider.ts';
import { inputInvalid, isSystemError, SidekeyError, systemCode } from '../../../lib/errors.ts';
import { markup, type PageAnswer, renderPage } from '../../../lib/html.ts';
import { isLoopback } from '../../../proxy/policy/authority.ts';

/** A program with its arguments, including the URL, and its environment if it differs from ours. */
export interface BrowserCommand {
  readonly program: string;
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Commands to try in order; or why there are none, as the end of a sentence. */
type BrowserChoice =
  | { readonly kind: 'commands'; readonly commands: readonly BrowserCommand[] }
  | { readonly kind: 'none'; readonly why: string };

/**
 * Returns the browser of the option, else of `BROWSER` (commands separated by colons, `%s` for the URL), else
 * of the system. Pure.
 */
export function chooseBrowser(
  url: string,
  named: string | undefined,
  { platform, env }: { readonly platform: NodeJS.Platform; readonly env: NodeJS.ProcessEnv },
): BrowserChoice {
  // Rejects URLs that system programs or shells could parse as an option, a path or a command.
  if (!/^https?:\/\/[A-Za-z0-9[][A-Za-z0-9._~:/?#[\]@&*+,=%-]*$/.test(url)) {
    return { kind: 'none', why: 'the address has characters that are not handed to a program' };
  }
  if (named !== undefined) return { kind: 'commands', commands: [namedBrowser(url, named, platform)] };
  const said = platform === 'win32' ? [] : fromVariable(url, env['BROWSER'] ?? '');
  if (said.length > 0) return { kind: 'commands', commands: said };
  const hasScreen = [env['DISPLAY'], env['WAYLAND_DISPLAY']].some((name) => (name ?? '') !== '');
  if ((env['SSH_CONNECTION'] ?? '') !== '' && !hasScreen) {
    return { kind: 'none', why: 'this is a session over SSH' };
  }
  switch (platform) {
    case 'darwin':
      return commands(['open', url]);
    case 'win32':
      return commands(['rundll32.exe', 'url.dll,FileProtocolHandler', url]);
    default:
      // WSL: opens the browser of Windows.
      if ((env['WSL_DISTRO_NAME'] ?? '') !== '') return commands(['wslview', url], ['xdg-open', url]);
      if (!hasScreen)
        return { kind: 'none', why: 'there is no display (neither DISPLAY nor WAYLAND_DISPLAY)' };
      return commands(['xdg-open', url], ['sensible-browser', url]);
  }
}

function commands(...all: readonly (readonly [program: string, ...words: string[]])[]): BrowserChoice {
  return { kind: 'commands', commands: all.map(([program, ...words]) => ({ program, words })) };
}

function namedBrowser(url: string, named: string, platform: NodeJS.Platform): BrowserCommand {
  const isPath = /[/\\]/.test(named);
  if (platform === 'darwin' && !isPath) return { program: 'open', words: ['-a', named, url] };
  if (platform === 'win32' && !isPath) {
    // Start-Process finds a browser by name. Both texts are environment values, never parsed as code.
    return {
      program: 'powershell.exe',
      words: [
        '-NoProfile',
        '-NonInteractive',
        '-Command',
        'Start-Process -FilePath $env:SIDEKEY_BROWSER -ArgumentList $env:SIDEKEY_URL',
      ],
      env: { SIDEKEY_BROWSER: named, SIDEKEY_URL: url },
    };
  }
  return { program: named, words: [url] };
}

function fromVariable(url: string, variable: string): BrowserCommand[] {
  return variable.split(':').flatMap((text) => {
    const argv = text.trim() === '' ? { problem: '' } : splitCommandLine(text.trim());
    if ('problem' in argv) return [];
    const [program, ...words] = argv;
    if (program === undefined) return [];
    const withUrl = words.map((word) => word.replaceAll('%s', url));
    return [{ program, words: words.some((word) => word.includes('%s')) ? withUrl : [...words, url] }];
  });
}

interface StartOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Receives the last command if all failed. */
  readonly failed: (program: string, why: string) => void;
}

/** Milliseconds within which a launcher without a browser fails. A later exit is the browser's. */
const soonMs = 10_000;

/**
 * Starts the first available command, without waiting. If a program is missing, or soon exits with another
 * code than 0, tries the next. Never throws.
 */
export function startBrowser([command, ...others]: readonly BrowserCommand[], options: StartOptions): void {
  if (command === undefined) return;
  const { program, words } = command;
  const startedAt = options.now();
  let isOver = false;
  const next = (why: string): void => {
    if (isOver) return;
    isOver = true;
    if (others.length > 0) startBrowser(others, options);
    else options.failed(program, why);
  };
  try {
    const child = spawn(program, words, {
      env: { ...withoutSecrets(options.env), ...command.env },
      stdio: 'ignore',
      shell: false,
      windowsHide: true,
      // The browser outlives this process and must not receive Ctrl-C.
      detached: true,
    });
    child.once('error', (error) => next(whyNot(program, error)));
    child.once('exit', (code) => {
      const isSoon = options.now() - startedAt < soonMs;
      if (code !== null && code !== 0 && isSoon) next(`ended with exit code ${code}`);
    });
    child.unref();
  } catch (error) {
    next(whyNot(program, error));
  }
}

/** Names of variables that contain secrets. The token of the window manager is not secret. */
const secretName = /SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|TOKEN|API_?KEY|_KEY$|^SIDEKEY_/i;

const plainNames = new Set(['XDG_ACTIVATION_TOKEN']);

/** Removes secrets. A browser outlives this process, and the user's programs can read its environment. */
function withoutSecrets(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => plainNames.has(name) || !secretName.test(name)),
  );
}

function whyNot(program: string, error: unknown): string {
  if (isSystemError(error, 'ENOENT')) return 'is not there';
  // An unsearchable folder of the PATH yields EACCES for any name that no other folder has.
  if (isSystemError(error, 'EACCES') && !/[/\\]/.test(program)) {
    return 'is in no folder of the PATH that this user may run programs from';
  }
  return `cannot be started (${systemCode(error)})`;
}

/** Content of the last page in the browser. */
export interface FinishPage {
  readonly kind: 'done' | 'failed';
  readonly title: string;
  /** Sentences, one paragraph each. They are escaped. */
  readonly says: readonly string[];
}

/** Returns the page as a response. Default status: 200 for success, 400 for failure. */
export function pageAnswer(
  { kind, title, says }: FinishPage,
  status = kind === 'done' ? 200 : 400,
): PageAnswer {
  const body = markup`${says.map((sentence) => markup`<p>${sentence}</p>`)}`;
  return renderPage({ kind, from: 'Sidekey, on this computer', title, body }, status);
}

/** Preferred port. Stable, because some providers compare redirect URIs exactly (unlike RFC 8252 §7.3). */
export const defaultPort = 8765;

const path = '/callback';

/** Redirect target for the browser. */
export type RedirectTarget =
  /** RFC 8252 §7.3: a listener of our own. */
  | {
      readonly kind: 'loopback';
      /** `127.0.0.1`, `[::1]` or `localhost`, as in the URI. */
      readonly host: string;
      /** Port; null: the default port, or any free port if that is taken; 0: any free port. */
      readonly port: number | null;
      readonly path: string;
    }
  /** Another machine: the user copies the response to this process. */
  | { readonly kind: 'elsewhere'; readonly redirectUri: string };

/**
 * Parses `--port` and `--redirect-uri`. A loopback URI without a port allows any port.
 *
 * @throws SidekeyError `input_invalid`
 */
export function redirectTarget({
  port,
  redirectUri,
}: {
  readonly port?: string | undefined;
  readonly redirectUri?: string | undefined;
}): RedirectTarget {
  const wanted = port === undefined ? null : portNumber(port);
  if (redirectUri === undefined) return { kind: 'loopback', host: '127.0.0.1', port: wanted, path };
  const url = /^[\x21-\x7e]+$/.test(redirectUri) ? URL.parse(redirectUri) : null;
  if (url === null || redirectUri.includes('#') || url.username !== '' || url.password !== '') {
    throw invalid('is not a URI that a browser can be redirected to');
  }
  if (url.protocol === 'http:') {
    if (!isLoopback(url.hostname)) {
      throw invalid('would bring the code back over plain http, where others can read it');
    }
    if (url.search !== '') throw invalid('has a query');
    // URL omits the scheme's default port, which the text may contain.
    const written = /^http:\/\/[^/]*?:([0-9]+)(?:\/|$)/i.exec(redirectUri.replace('[::1]', 'ipv6'))?.[1];
    const own = written === undefined ? null : portNumber(written);
    if (own !== null && wanted !== null && own !== wanted) {
      throw inputInvalid('--port and --redirect-uri name two ports.', 'leave --port out');
    }
    return { kind: 'loopback', host: url.hostname, port: own ?? wanted, path: url.pathname };
  }
  if (wanted !== null) {
    throw inputInvalid('--port is for redirect URIs of this machine.', 'leave --port out');
  }
  // RFC 8252 §7.1: a private-use scheme is a reversed domain name. Older drafts of OAuth define the URN.
  const isPrivateScheme = /^[a-z][a-z0-9+-]*\.[a-z0-9+.-]+:$/.test(url.protocol);
  if (url.protocol === 'https:' || isPrivateScheme || redirectUri === 'urn:ietf:wg:oauth:2.0:oob') {
    return { kind: 'elsewhere', redirectUri };
  }
  throw invalid('has a scheme that no provider sends a browser to');
}

/**
 * Chooses the redirect target: from the options, then from the registered client, then from the provider.
 *
 * @throws SidekeyError `input_invalid`; also if the provider accepts no loopback URI and none is given
 */
export function redirectOf(
  options: { readonly port?: string | undefined; readonly redirectUri?: string | undefined },
  {
    name,
    title,
    redirectUriType,
    redirectUri,
  }: Pick<Provider, 'name' | 'title' | 'redirectUriType' | 'redirectUri'>,
): RedirectTarget {
  const uri = options.redirectUri ?? redirectUri ?? undefined;
  if (uri !== undefined || redirectUriType === 'loopback')
    return redirectTarget({ port: options.port, redirectUri: uri });
  if (redirectUriType === 'localhost') {
    const target = redirectTarget({ port: options.port, redirectUri: 'http://localhost/callback' });
    // A registered port must match exactly.
    return target.kind === 'loopback' ? { ...target, port: target.port ?? defaultPort } : target;
  }
  throw new SidekeyError('input_invalid', `${title} accepts only redirect URIs that begin with https.`, {
    hint: `register a page of yours, such as ${httpsExample}, and bring the answer here yourself: sidekey connect ${name} --redirect-uri ${httpsExample} --paste`,
  });
}

/** Example of a registered page. It need not exist: the user copies the address from the browser. */
const httpsExample = 'https://example.com/callback';

/** Returns the redirect URI to register for a new client. */
export function redirectUriToRegister(
  options: { readonly port?: string | undefined; readonly redirectUri?: string | undefined },
  provider: Pick<Provider, 'name' | 'title' | 'redirectUriType' | 'redirectUri'>,
): string {
  const isOpen =
    (options.redirectUri ?? provider.redirectUri) == null && provider.redirectUriType === 'https';
  return isOpen ? httpsExample : writtenRedirectUri(redirectOf(options, provider));
}

/** Returns the redirect URI without a listener, for registration and in a printed consent URL. */
export function writtenRedirectUri(target: RedirectTarget): string {
  if (target.kind === 'elsewhere') return target.redirectUri;
  return loopbackUri(target, target.port === null || target.port === 0 ? defaultPort : target.port);
}

export function loopbackUri(
  { host, path }: Extract<RedirectTarget, { readonly kind: 'loopback' }>,
  port: number,
): string {
  return `http://${host}:${port}${path}`;
}

function portNumber(text: string): number {
  const port = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && port <= 65_535) return port;
  throw inputInvalid('--port is not a port.', 'a number from 1 to 65535, or 0 for any that is free');
}

function invalid(problem: string): SidekeyError {
  return new SidekeyError('input_invalid', `--redirect-uri ${problem}.`, {
    hint: 'write it as it is registered at the provider, such as http://localhost:8080/callback',
  });
}
