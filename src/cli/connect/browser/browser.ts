import { spawn } from 'node:child_process';
import { splitCommandLine } from '../../../config/locate.ts';
import { isSystemError, systemCode } from '../../../lib/errors.ts';
import { markup, type PageAnswer, renderPage } from '../../../lib/html.ts';

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
