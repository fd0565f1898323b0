import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { endWithWorker } from './shared-browser.ts';
import { tempFolder } from './temp-folder.ts';

const names = ['chromium', 'chromium-browser', 'google-chrome'];

/** The path of Chromium on this machine; null: none. */
export function findChromium(path?: string): Promise<string | null> {
  return findProgram(names, path);
}

/** The path of the first of these programs that is there; null: none. */
export async function findProgram(
  programs: readonly string[],
  path = process.env['PATH'] ?? '',
): Promise<string | null> {
  for (const name of programs) {
    for (const folder of path.split(delimiter).filter((each) => each !== '')) {
      const file = join(folder, name);
      const isThere = await access(file, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (isThere) return file;
    }
  }
  return null;
}

/** A headless browser that a program can start with an address. */
export interface BrowserProgram {
  /** The program to start, with the address as its only argument. */
  readonly program: string;
  /** Resolves with the opened page. */
  readonly page: () => Promise<BrowserPage>;
}

/** Keys that tests press, with their codes. */
const keys = { Tab: 9, Enter: 13, Escape: 27, ' ': 32 } as const;
type Key = keyof typeof keys;

/** One page, driven over the DevTools protocol. */
export interface BrowserPage {
  /** The result of an expression in the page, converted from JSON. */
  readonly evaluate: (expression: string) => Promise<unknown>;
  /** Resolves with the text of the page when it contains this. */
  readonly shows: (text: string) => Promise<string>;
  /** Resolves when the page does not contain this any more. */
  readonly lacks: (text: string) => Promise<void>;
  readonly address: () => Promise<string>;
  /** Presses a key, where the focus is. */
  readonly press: (key: Key) => Promise<void>;
  readonly darkened: (isDark: boolean) => Promise<void>;
  /** Sets the size of the window, in CSS pixels. */
  readonly resized: (width: number, height: number) => Promise<void>;
  /** PNG. */
  readonly screenshot: () => Promise<Buffer>;
  /** Adds a platform authenticator that verifies its person at once. */
  readonly authenticator: () => Promise<void>;
  /** Resolves with the next window that the page opens. */
  readonly popup: () => Promise<BrowserPage>;
  /** Messages of the page on the console, and refused loads. */
  readonly complaints: readonly string[];
}

/**
 * Starts a browser that ends with the worker.
 *
 * @param resolve hosts that are at 127.0.0.1; every other but 127.0.0.1 is nowhere
 * @returns a function that opens an address in a new browser context, which ends with the test
 */
export async function startChromium(
  chromium: string,
  resolve: readonly string[],
): Promise<(url: string) => Promise<BrowserPage>> {
  const profile = await mkdtemp(join(tmpdir(), 'sidekey-chromium-'));
  const child = spawn(chromium, flagsOf(profile, resolve), { stdio: 'ignore', detached: true });
  endWithWorker(child, profile);
  const address = await debuggingAddress(profile);
  return (url) => openPage(address, url);
}

/** @param resolve hosts that are at 127.0.0.1; every other but 127.0.0.1 is nowhere */
function flagsOf(profile: string, resolve: readonly string[]): string[] {
  const maps = [...resolve.map((host) => `MAP ${host} 127.0.0.1`), 'MAP * ~NOTFOUND', 'EXCLUDE 127.0.0.1'];
  return [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--ignore-certificate-errors',
    '--window-size=900,640',
    '--remote-debugging-port=0',
    `--user-data-dir=${profile}`,
    `--host-resolver-rules=${maps.join(', ')}`,
  ];
}

/** @param resolve hosts that are at 127.0.0.1; every other but 127.0.0.1 is nowhere */
export async function browserProgram(chromium: string, resolve: readonly string[]): Promise<BrowserProgram> {
  const folder = await tempFolder();
  const profile = join(folder, 'profile');
  const program = join(folder, 'browser.sh');
  const flags = flagsOf(profile, resolve);
  const words = flags.map((flag) => `'${flag}'`).join(' ');
  await writeFile(
    program,
    `#!/bin/sh\necho $$ > '${join(folder, 'pid')}'\nexec '${chromium}' ${words} "$@" > /dev/null 2>&1\n`,
  );
  await chmod(program, 0o700);
  onTestFinished(async () => {
    const pid = Number(await readFile(join(folder, 'pid'), 'utf8').catch(() => ''));
    try {
      if (pid > 0) process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
    // Its child processes end after it, and write files until then.
    await rm(profile, { recursive: true, force: true, maxRetries: 20 });
  });
  return { program, page: async () => openPage(await debuggingAddress(profile)) };
}

/**
 * Reads the port and path that Chromium writes to a file of its profile when it listens. Polls, because a
 * recursive `watch` throws outside of its promise if it finds that Chromium has just removed a folder.
 */
async function debuggingAddress(profile: string): Promise<string> {
  for (const end = Date.now() + 15_000; Date.now() < end; await delay(20)) {
    const text = await readFile(join(profile, 'DevToolsActivePort'), 'utf8').catch(() => '');
    const [port, path = ''] = text.split('\n');
    if (path !== '') return `ws://127.0.0.1:${port}${path}`;
  }
  throw new Error('Chromium did not start.');
}

type Result = Record<string, unknown>;

/** Event of the DevTools protocol; `sessionId` names the page. */
interface Event {
  readonly method: string;
  readonly params: Result;
  readonly sessionId: string | undefined;
}

/** @param url address to open in a new browser context; default: the page that the browser opens itself */
async function openPage(address: string, url?: string): Promise<BrowserPage> {
  const socket = new WebSocket(address);
  onTestFinished(() => socket.close());
  await new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve());
    socket.once('error', reject);
  });
  const waiting = new Map<number, (answer: Result) => void>();
  const listeners = new Set<(event: Event) => void>();
  let last = 0;
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Partial<Event> & Result & { id?: number };
    if (message.id !== undefined) waiting.get(message.id)?.(message);
    else
      for (const listen of listeners)
        listen({ method: message.method ?? '', params: message.params ?? {}, sessionId: message.sessionId });
  });
  const send = (method: string, params: Result = {}, sessionId?: string): Promise<Result> => {
    last += 1;
    const id = last;
    socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((resolve, reject) => {
      waiting.set(id, (answer) => {
        waiting.delete(id);
        if (answer['error'] === undefined) resolve(answer['result'] as Result);
        else reject(new Error(`${method}: ${JSON.stringify(answer['error'])}`));
      });
    });
  };

  return url === undefined ? attached(await firstTarget()) : inNewContext(url);

  function firstTarget(): Promise<string> {
    return new Promise((resolve) => {
      listeners.add(({ method, params }) => {
        const info = params['targetInfo'] as { type?: string; targetId?: string } | undefined;
        if (method === 'Target.targetCreated' && info?.type === 'page') resolve(info.targetId ?? '');
      });
      void send('Target.setDiscoverTargets', { discover: true });
    });
  }

  /** A browser context has its own cookies, storage and cache. It ends with the connection. */
  async function inNewContext(first: string): Promise<BrowserPage> {
    const { browserContextId } = await send('Target.createBrowserContext', { disposeOnDetach: true });
    const { targetId } = await send('Target.createTarget', {
      url: 'about:blank',
      browserContextId,
      newWindow: true,
    });
    await send('Target.setDiscoverTargets', { discover: true });
    return attached(String(targetId), first);
  }

  async function attached(targetId: string, first?: string): Promise<BrowserPage> {
    const complaints: string[] = [];
    const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
    const inPage = (method: string, params: Result = {}) => send(method, params, sessionId as string);
    listeners.add(({ method, params, sessionId: from }) => {
      if (from !== sessionId) return;
      if (method === 'Log.entryAdded') complaints.push(JSON.stringify(params['entry']));
      if (method === 'Runtime.exceptionThrown') complaints.push(JSON.stringify(params['exceptionDetails']));
    });
    for (const domain of ['Page', 'Runtime', 'Log']) await inPage(`${domain}.enable`);
    if (first !== undefined) await inPage('Page.navigate', { url: first });

    /** Resolves with the text of the page when a condition on `shown`, the text, holds. */
    async function textWhere(condition: string): Promise<string> {
      const expression = `new Promise((resolve) => {
        const look = () => {
          const shown = document.body?.innerText ?? '';
          if (${condition}) resolve(shown);
        };
        new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
        look();
      })`;
      for (;;) {
        // A page that is left takes its promise along.
        const shown = await page.evaluate(expression).catch(() => null);
        if (typeof shown === 'string') return shown;
      }
    }

    const page: BrowserPage = {
      complaints,
      async evaluate(expression) {
        const asked = { expression, returnByValue: true, awaitPromise: true, userGesture: true };
        const { result, exceptionDetails } = await inPage('Runtime.evaluate', asked);
        if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails).slice(0, 2_000));
        return (result as { value?: unknown }).value;
      },
      shows: (text) => textWhere(`shown.includes(${JSON.stringify(text)})`),
      async lacks(text) {
        await textWhere(`!shown.includes(${JSON.stringify(text)})`);
      },
      address: async () => String(await page.evaluate('location.href')),
      async press(key) {
        const text = key === 'Enter' ? '\r' : key === ' ' ? key : undefined;
        const pressed = { key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: keys[key], text };
        await inPage('Input.dispatchKeyEvent', { type: 'keyDown', ...pressed });
        await inPage('Input.dispatchKeyEvent', { type: 'keyUp', ...pressed, text: undefined });
      },
      async darkened(isDark) {
        const features = [{ name: 'prefers-color-scheme', value: isDark ? 'dark' : 'light' }];
        await inPage('Emulation.setEmulatedMedia', { features });
      },
      async resized(width, height) {
        const screen = { width, height, deviceScaleFactor: 1, mobile: false };
        await inPage('Emulation.setDeviceMetricsOverride', screen);
      },
      async screenshot() {
        const { data } = await inPage('Page.captureScreenshot', { format: 'png' });
        return Buffer.from(String(data), 'base64');
      },
      async authenticator() {
        await inPage('WebAuthn.enable');
        const options = {
          protocol: 'ctap2',
          transport: 'internal',
          hasResidentKey: true,
          hasUserVerification: true,
          isUserVerified: true,
          automaticPresenceSimulation: true,
        };
        await inPage('WebAuthn.addVirtualAuthenticator', { options });
      },
      popup: () =>
        new Promise((resolve, reject) => {
          const listen = ({ method, params }: Event) => {
            const info = params['targetInfo'] as
              { type?: string; targetId?: string; openerId?: string } | undefined;
            if (method !== 'Target.targetCreated' || info?.openerId !== targetId) return;
            listeners.delete(listen);
            attached(info.targetId ?? '').then(resolve, reject);
          };
          listeners.add(listen);
        }),
    };
    return page;
  }
}
