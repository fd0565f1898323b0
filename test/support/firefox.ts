import { spawn } from 'node:child_process';
import { mkdtemp, readFile, watch, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import type { BrowserPage } from './chromium.ts';
import { endWithWorker } from './shared-browser.ts';

/** A page in Firefox, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/). */
export type FirefoxPage = Pick<
  BrowserPage,
  'evaluate' | 'shows' | 'lacks' | 'popup' | 'address' | 'complaints'
>;

type Result = Record<string, unknown>;

interface Event {
  readonly method: string;
  readonly params: Result;
}

/**
 * Starts a browser that ends with the worker.
 *
 * @param resolve hosts that are at 127.0.0.1
 * @returns a function that opens an address in a new user context, which ends with the test
 */
export async function startFirefox(
  program: string,
  resolve: readonly string[],
): Promise<(url: string) => Promise<FirefoxPage>> {
  const profile = await mkdtemp(join(tmpdir(), 'sidekey-firefox-'));
  const preferences = {
    'network.dns.localDomains': resolve.join(','),
    'browser.shell.checkDefaultBrowser': false,
    'datareporting.policy.dataSubmissionEnabled': false,
    'app.update.enabled': false,
  };
  const lines = Object.entries(preferences).map(
    (pair) => `user_pref(${pair.map((it) => JSON.stringify(it)).join()});`,
  );
  await writeFile(join(profile, 'user.js'), lines.join('\n'));
  const flags = [
    '--headless',
    '--no-remote',
    '--profile',
    profile,
    '--remote-debugging-port',
    '0',
    'about:blank',
  ];
  const child = spawn(program, flags, { stdio: 'ignore', detached: true });
  endWithWorker(child, profile);
  const socket = new WebSocket(await address(profile));
  await new Promise((opened, failed) => socket.once('open', opened).once('error', failed));

  const waiting = new Map<number, (answer: Result) => void>();
  const listeners = new Set<(event: Event) => void>();
  let last = 0;
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Partial<Event> & { id?: number };
    if (message.id != null) waiting.get(message.id)?.(message);
    else
      for (const listen of listeners) listen({ method: message.method ?? '', params: message.params ?? {} });
  });
  const send = (method: string, params: Result = {}): Promise<Result> => {
    last += 1;
    const id = last;
    socket.send(JSON.stringify({ id, method, params }));
    return new Promise((done, failed) => {
      waiting.set(id, (answer) => {
        waiting.delete(id);
        if (answer['type'] === 'success') done(answer['result'] as Result);
        else failed(new Error(`${method}: ${JSON.stringify(answer)}`));
      });
    });
  };
  await send('session.new', { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
  const events = ['browsingContext.contextCreated', 'browsingContext.load', 'log.entryAdded'];
  await send('session.subscribe', { events });
  return open;

  /** A user context has its own cookies, storage and cache. */
  async function open(url: string): Promise<FirefoxPage> {
    const { userContext } = await send('browser.createUserContext');
    const { context } = await send('browsingContext.create', { type: 'tab', userContext });
    const ended = new AbortController();
    onTestFinished(async () => {
      ended.abort();
      await send('browser.removeUserContext', { userContext });
    });
    const page = pageOf(String(context), ended.signal);
    await send('browsingContext.navigate', { context, url, wait: 'complete' });
    return page;
  }

  /** @param ended aborted at the end of the test, when no page is left to wait for */
  function pageOf(context: string, ended: AbortSignal): FirefoxPage {
    const complaints: string[] = [];
    listeners.add(({ method, params }) => {
      const source = params['source'] as { context?: string } | undefined;
      if (method === 'log.entryAdded' && source?.context === context && params['level'] === 'error')
        complaints.push(String(params['text']));
    });
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
        ended.throwIfAborted();
        const asked = { expression, target: { context }, awaitPromise: true };
        // The promise of a page that is left has no end.
        const loaded = new Promise<Result>((done) => {
          const listen = ({ method, params }: Event) => {
            if (method !== 'browsingContext.load' || params['context'] !== context) return;
            listeners.delete(listen);
            done({});
          };
          listeners.add(listen);
        });
        const looked = send('script.evaluate', asked).catch((): Result => ({}));
        const { result } = await Promise.race([looked, loaded]);
        const shown = (result as { value?: string } | undefined)?.value;
        if (shown !== undefined) return shown;
      }
    }

    const page: FirefoxPage = {
      complaints,
      async evaluate(expression) {
        // Read as a text, because the protocol encodes other values in its own form.
        const code = `JSON.stringify((0, eval)(${JSON.stringify(expression)}) ?? null)`;
        const asked = { expression: code, target: { context }, awaitPromise: false, userActivation: true };
        const { result, exceptionDetails } = await send('script.evaluate', asked);
        if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
        return JSON.parse((result as { value?: string }).value ?? 'null') as unknown;
      },
      shows: (text) => textWhere(`shown.includes(${JSON.stringify(text)})`),
      async lacks(text) {
        await textWhere(`!shown.includes(${JSON.stringify(text)})`);
      },
      address: async () => String(await page.evaluate('location.href')),
      popup: () =>
        new Promise((opened) => {
          const listen = ({ method, params }: Event) => {
            if (method !== 'browsingContext.contextCreated' || params['originalOpener'] !== context) return;
            listeners.delete(listen);
            opened(pageOf(String(params['context']), ended) as BrowserPage);
          };
          listeners.add(listen);
        }),
    };
    return page;
  }
}

/** Reads the address that Firefox writes to a file when it listens. */
async function address(profile: string): Promise<string> {
  const read = async () => {
    const text = await readFile(join(profile, 'WebDriverBiDiServer.json'), 'utf8').catch(() => '');
    if (!text.includes('}')) return null;
    const { ws_host: host, ws_port: port } = JSON.parse(text) as { ws_host: string; ws_port: number };
    return `ws://${host}:${port}/session`;
  };
  const changes = watch(profile, { signal: AbortSignal.timeout(20_000) });
  for (let found = await read(); ; found = await read()) {
    if (found !== null) return found;
    const { done } = await changes[Symbol.asyncIterator]().next();
    if (done) throw new Error('Firefox did not start.');
  }
}
