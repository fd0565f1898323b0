import { type BrowserPage, findChromium, findProgram, startChromium } from './chromium.ts';
import { type FirefoxPage, startFirefox } from './firefox.ts';
import { upstreamHost } from './upstream.ts';

/** The browsers that Debian has, for `describe.each`. */

/** A page in one of the browsers. Only Chromium has the rest. */
export type Page = FirefoxPage & Partial<BrowserPage>;

/**
 * Opens an address in a browser without cookies and storage, which ends with the test; null: the browser is
 * not on this machine.
 */
export type Open = ((url: string) => Promise<Page>) | null;

/** Hosts that are at 127.0.0.1. */
const hosts = ['localhost', upstreamHost, 'helpdesk.acme.test'];

/** Starts a browser at its first use by this worker. */
function shared(start: () => Promise<(url: string) => Promise<Page>>): Open {
  let started: ReturnType<typeof start> | undefined;
  return async (url) => (await (started ??= start()))(url);
}

const chromium = await findChromium();
const firefox = await findProgram(['firefox-esr', 'firefox']);

/** Name, the reason why tests in it are skipped, and the way to open it. */
export const browsers: readonly (readonly [name: string, why: string, open: Open])[] = [
  [
    'Chromium',
    chromium === null ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : '',
    chromium === null ? null : shared(() => startChromium(chromium, hosts)),
  ],
  [
    'Firefox',
    firefox === null ? ' (skipped: no firefox-esr or firefox on PATH)' : '',
    firefox === null ? null : shared(() => startFirefox(firefox, hosts)),
  ],
];
