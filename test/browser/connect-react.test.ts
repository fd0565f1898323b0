/** `@sidekey/connect/react` in an application with React. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { describe, expect, it, onTestFinished } from 'vitest';
import { packageMissing, programs } from '../clients/support/stage.ts';
import { browsers, type Open } from '../support/browsers.ts';
import { startConnecting } from '../support/connect-session.ts';
import { consentIn } from '../support/opened-pages.ts';

const root = join(import.meta.dirname, '../..');

/** The button, the state of a hook beside it, and a button that removes both. */
const program = `
import { createElement as h, StrictMode, useEffect, useState, version } from 'react';
import { createRoot } from 'react-dom/client';
import { ConnectButton, useConnect } from '../../src/sdk/connect/react.ts';

const baseUrl = document.body.dataset.sidekey;
globalThis.version = 'React ' + version;
async function sessionToken() {
  const answer = await fetch('/session', { method: 'POST' });
  if (!answer.ok) throw new Error('no session');
  return answer.text();
}
function App() {
  const [calls, setCalls] = useState([]);
  // React in development ends and repeats the effects of a component right after it has mounted.
  const [word, setWord] = useState('mounting');
  useEffect(() => setWord('now'), []);
  const add = (call) => setCalls([...calls, call]);
  const { open, state, error, result } = useConnect({
    sessionToken,
    baseUrl,
    onSuccess: () => add('success'),
    onError: ({ code }) => add(code),
    onExit: () => add('exit'),
  });
  const text = [word, state, error?.code ?? '-', result === null ? '-' : 'grant', ...calls].join(' ');
  const button = h(ConnectButton, { sessionToken, baseUrl, className: 'wide', onExit: () => add('button exit') }, 'Connect');
  return [h('p', { key: 1 }, text), h('button', { key: 2, id: 'open', onClick: open }), h('i', { key: 3 }, button)];
}
function Page() {
  const [isShown, setShown] = useState(true);
  return [isShown && h(App, { key: 1 }), h('button', { key: 2, id: 'remove', onClick: () => setShown(false) })];
}
createRoot(document.querySelector('main')).render(h(StrictMode, null, h(Page)));
`;

/** Versions of React with the folders of its packages; absent: that of the project. */
const versions: readonly (readonly [name: string, alias?: Readonly<Record<string, string>>])[] = [
  ['React 19'],
  [
    'React 18',
    {
      react: join(programs, 'node_modules/react-18'),
      'react-dom': join(programs, 'node_modules/react-dom-18'),
    },
  ],
];

async function bundle(alias: Readonly<Record<string, string>> = {}): Promise<string> {
  const input = join(import.meta.dirname, 'connect-react-program.js');
  await using made = await rolldown({
    input,
    cwd: root,
    platform: 'browser',
    resolve: { alias },
    transform: { define: { 'process.env.NODE_ENV': '"development"' } },
    plugins: [
      {
        name: 'program',
        resolveId: (id) => (id === input ? id : null),
        load: (id) => (id === input ? program : null),
      },
    ],
  });
  const { output } = await made.generate({ format: 'iife' });
  return output[0].code;
}

const scripts = new Map<unknown, Promise<string>>();

function scriptOf(alias?: Readonly<Record<string, string>>): Promise<string> {
  const script = scripts.get(alias) ?? bundle(alias);
  scripts.set(alias, script);
  return script;
}

/** Opens the application. `hasSessions: false`: its server fails. */
async function inBrowser(
  open: Open,
  {
    hasSessions = true,
    alias,
  }: { hasSessions?: boolean; alias?: Readonly<Record<string, string>> | undefined } = {},
) {
  const server = createServer((request, response) => {
    void (async () => {
      response.statusCode = request.url === '/session' && !hasSessions ? 500 : 200;
      if (request.url === '/session')
        return (await at.session({ return_url: undefined, popup_origin: origin })).session_token;
      if (request.url === '/program.js') return scriptOf(alias);
      response.setHeader('content-type', 'text/html; charset=utf-8');
      return `<!doctype html><title>App</title><body data-sidekey="${at.url}"><main></main><script src="/program.js"></script>`;
    })().then((text) => response.end(text));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const at = await startConnecting({ returnUrls: [`${origin}/`] });
  const page = await open!(`${origin}/`);
  await page.shows('now idle - -');
  const click = (selector: string) => page.evaluate(`document.querySelector('${selector}').click()`);
  /** Opens the popup by a button of the application. Returns a function that closes it. */
  const opened = async (selector: string) => {
    const popups = page.popup();
    await click(selector);
    const popup = await popups;
    await popup.shows('asks to use your account');
    return () => popup.evaluate('window.close()').catch(() => undefined);
  };
  return { page, click, opened };
}

describe.each(browsers)('the React component in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  it.for(versions)(
    'with %s shows an open popup, a closed one, and a connected account',
    async ([name, alias], context) => {
      context.skip(
        open === null || (alias !== undefined && packageMissing('react-18') !== false),
        `no browser, or no ${name}`,
      );
      const { page, click, opened } = await inBrowser(open, { alias });
      const close = await opened('#open');
      await page.shows('now open - -');
      await close();
      await page.shows('now idle - - exit');
      const second = page.popup();
      await click('#open');
      await consentIn(await second);
      await page.shows('now connected - grant exit success');
      expect(await page.evaluate('version')).toContain(name);
    },
  );

  test('has a button with the props of a button', async () => {
    const { page, opened } = await inBrowser(open);
    const close = await opened('button.wide[type=button]');
    await close();
    await page.shows('now idle - - button exit');
  });

  test('shows the failure of a server without a session', async () => {
    const { page, click } = await inBrowser(open, { hasSessions: false });
    await click('#open');
    await page.shows('now failed unreachable - unreachable');
  });

  test('closes its popup when it is removed', async () => {
    const { page, click } = await inBrowser(open);
    await page.evaluate(`{
      const { open } = window;
      window.open = (...given) => (globalThis.popup = open.apply(window, given));
    }`);
    const opened = page.popup();
    await click('#open');
    await (await opened).shows('asks to use your account');
    await click('#remove');
    expect(await page.evaluate('globalThis.popup.closed')).toBe(true);
  });
});
