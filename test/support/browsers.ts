import { spawn } from 'node:child_process';
import { onTestFinished } from 'vitest';
import { type BrowserPage, browserProgram, findChromium, findProgram } from './chromium.ts';
import { type FirefoxPage, openFirefox } from './firefox.ts';

/** The browsers that Debian has, for `describe.each`. */

/** A page in one of the browsers. Only Chromium has the rest. */
export type Page = FirefoxPage & Partial<BrowserPage>;

/**
 * Opens an address in a new browser, which ends with the test; null: the browser is not on this machine.
 *
 * @param hosts those that are at 127.0.0.1
 */
export type Open = ((url: string, hosts: readonly string[]) => Promise<Page>) | null;

const chromium = await findChromium();
const firefox = await findProgram(['firefox-esr', 'firefox']);

/** Name, the reason why tests in it are skipped, and the way to open it. */
export const browsers: readonly (readonly [name: string, why: string, open: Open])[] = [
  [
    'Chromium',
    chromium === null ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : '',
    chromium === null
      ? null
      : async (url, hosts) => {
          const { program, page } = await browserProgram(chromium, hosts);
          const started = spawn(program, [url], { stdio: 'ignore' });
          onTestFinished(() => void started.kill('SIGKILL'));
          return page();
        },
  ],
  [
    'Firefox',
    firefox === null ? ' (skipped: no firefox-esr or firefox on PATH)' : '',
    firefox === null ? null : (url, hosts) => openFirefox(firefox, url, hosts),
  ],
];
