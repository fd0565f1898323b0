import { readFileSync } from 'node:fs';
import process from 'node:process';
import { type Client, type ClientOptions, createClient as create } from './client.ts';
import { browserOf } from './open-browser.ts';

/**
 * The client with what a machine has: `import { createClient } from '@sidekey/client/node'`. The address and
 * the key come from `SIDEKEY_API_URL` and `SIDEKEY_API_KEY`, or from `sidekey login`.
 */

export * from './client.ts';

/** @throws SidekeyError `input_invalid` without a key, or for plain HTTP to another machine */
export function createClient(options: ClientOptions = {}): Client {
  const { env } = process;
  const given = options.apiKey ?? env['SIDEKEY_API_KEY'];
  const saved = given === undefined ? savedLogin() : null;
  const baseUrl = options.baseUrl ?? env['SIDEKEY_API_URL'] ?? saved?.url;
  // The key is sent only to its own service.
  const apiKey = given ?? (saved?.url === baseUrl?.replace(/\/+$/, '') ? saved?.key : undefined);
  return create({ env, openBrowser: browserOf(), ...options, baseUrl, apiKey });
}

/** Returns the login of `sidekey login`; null: none. */
function savedLogin(): { readonly url: string; readonly key: string } | null {
  const { env, platform } = process;
  const xdg = env['XDG_CONFIG_HOME'] || `${env['HOME'] ?? ''}/.config`;
  const home = env['SIDEKEY_HOME'];
  const folder = home ? `${home}/config` : `${platform === 'win32' ? (env['APPDATA'] ?? '') : xdg}/sidekey`;
  // In a relative folder, the author of the working folder could plant a login.
  if (!/^(?:\/|[A-Za-z]:[\\/])/.test(folder)) return null;
  try {
    return JSON.parse(readFileSync(`${folder}/login.json`, 'utf8')) as { url: string; key: string };
  } catch {
    return null;
  }
}
