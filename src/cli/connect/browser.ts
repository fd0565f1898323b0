/** A person's browser, opened without a shell. */
import { spawn } from 'node:child_process';
import { splitCommandLine } from '../../config/command-line.ts';
import { isSystemError, systemCode } from '../../system-error.ts';

/** Where this process runs. */
export interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
}

/** A program with its arguments, the URL among them; its environment, where it is not ours. */
export interface BrowserCommand {
  readonly program: string;
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What can be tried, in turn; or why there is nothing to try, as the end of a sentence. */
export type BrowserChoice =
  | { readonly kind: 'commands'; readonly commands: readonly BrowserCommand[] }
  | { readonly kind: 'none'; readonly why: string };

/**
 * The browser that a person named, else what `BROWSER` says (commands with colons between them, `%s` for the URL), else
 * that of the system. Pure.
 */
export function chooseBrowser(
  url: string,
  named: string | undefined,
  { platform, env }: Surroundings,
): BrowserChoice {
  // What the system's programs, and shells that they hand it on to, might read as an option, a path or a command is not
  // handed to them.
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
      // Windows' own browser, from its Linux subsystem.
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
    // Only the system's own start knows a browser by name. Both texts come from the environment: none is read as code.
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

/** What a browser is started with. */
export interface StartOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of the last command that was tried, where none has worked. */
  readonly failed: (program: string, why: string) => void;
}

/** A launcher that finds no browser says so at once; a browser that ends later was there. */
const soonMs = 10_000;

/**
 * Starts the first command that there is, and goes on at once. A program that is not there, or that ends soon with an
 * exit code other than 0, makes room for the next. Nothing is thrown, whatever comes of it.
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
      // It outlives this process, and Ctrl-C is not for it.
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

/** How variables are called that hold secrets; the window manager's own token is none. */
const secretName = /SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|TOKEN|API_?KEY|_KEY$|^SIDEKEY_/i;
const plainNames = new Set(['XDG_ACTIVATION_TOKEN']);

/** A browser keeps its environment long after this process has ended, and every program of the user can read it there. */
function withoutSecrets(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => plainNames.has(name) || !secretName.test(name)),
  );
}

function whyNot(program: string, error: unknown): string {
  if (isSystemError(error, 'ENOENT')) return 'is not there';
  // One folder of the PATH that may not be searched makes this of every name that no other folder has.
  if (isSystemError(error, 'EACCES') && !/[/\\]/.test(program)) {
    return 'is in no folder of the PATH that this user may run programs from';
  }
  return `cannot be started (${systemCode(error)})`;
}
