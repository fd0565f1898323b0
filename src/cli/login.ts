import { hash, randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { readReceiver } from '../config/scalar.ts';
import { inputInvalid, isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { replaceFile } from '../lib/os.ts';
import { systemTimers } from '../lib/timers.ts';
import { consentInBrowser } from './connect/browser/consent.ts';
import { startConsentTimeout, timeoutOf } from './connect/consent-timeout.ts';
import type { Context } from './context.ts';
import { isoTime, relativeTime } from '../operations/format.ts';

/** `sidekey login` and `logout`: a person's key at a Sidekey on another machine, for the SDKs. */

const defaultTimeoutMs = 300_000;

const answerSchema = z.looseObject({
  key: z.string(),
  name: z.string(),
  person: z.string(),
  role: z.string(),
  expires_at: z.string(),
});

/** The file that the SDKs read. */
const savedSchema = z.strictObject({ url: z.string(), key: z.string(), expires_at: z.string() });
type SavedLogin = z.output<typeof savedSchema>;

export interface LoginOptions {
  readonly timeout?: string;
  readonly browser?: string | false;
  readonly port?: string;
  readonly paste?: boolean;
}

/** `sidekey login` */
export async function login(
  context: Context,
  address: string | undefined,
  { timeout, ...options }: LoginOptions,
): Promise<void> {
  const { output, now } = context;
  const file = await loginFile(context);
  const earlier = await readLogin(file);
  const url = serverUrl(address ?? earlier?.url);
  const { host } = new URL(url);
  // Before a browser opens: a gateway may answer any status.
  await send(url, { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(10_000) });
  const verifier = randomBytes(32).toString('base64url');
  const state = randomBytes(32).toString('base64url');
  const waiting = startConsentTimeout(timeoutOf(timeout, defaultTimeoutMs), systemTimers);
  const provider = {
    name: host,
    title: `Sidekey at ${host}`,
    redirectUri: null,
    redirectUriType: 'loopback',
  } as const;
  const request = { context, provider, options, signal: waiting.signal };
  const made = await consentInBrowser(request, {
    async begin(redirectUri) {
      const challenge = hash('sha256', verifier, 'base64url');
      const { port } = new URL(redirectUri);
      return { url: `${url}/#login/${port}/${challenge}/${state}`, state, takesBareCode: true };
    },
    async finish(callback) {
      const code = callback.kind === 'code' ? callback.code : (callback.parameters.get('code') ?? '');
      const answer = await ask(url, '/sign-in/login', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ code, verifier }),
      });
      const { data: found } = answerSchema.safeParse(await answer.json().catch(() => null));
      if (found === undefined) throw noSidekey(host, answer);
      const saved: SavedLogin = { url, key: found.key, expires_at: found.expires_at };
      await replaceFile(file, `${JSON.stringify(saved)}\n`, 0o600);
      return found;
    },
    page: ({ person }) => ({
      title: `The command line is signed in as ${person}`,
      says: ['You may close this window.'],
    }),
  }).finally(() => waiting.end());
  const { person, role, name, expires_at } = made;
  output.result(
    { url, person, role, key: name, expires_at, file },
    `Signed in at ${host} as ${person} (${role}). The login ends ${relativeTime(Date.parse(expires_at), now())}.`,
  );
  output.say('The SDKs use its key.\n  → sidekey logout   # revokes the key');
  if (earlier === null) return;
  await endKey(earlier, now()).catch((error: unknown) => {
    if (!(error instanceof SidekeyError)) throw error;
    const end = relativeTime(Date.parse(earlier.expires_at), now());
    output.say(
      `The key of the earlier login could not be revoked, and ends ${end}: ${error.message}\n  → sidekey api-key list   # at ${earlier.url}, then: sidekey api-key revoke NAME`,
    );
  });
}

/** `sidekey logout`: ends the key at the server, and removes the file. */
export async function logout(context: Context): Promise<void> {
  const { output, now } = context;
  const file = await loginFile(context);
  const saved = await readLogin(file);
  if (saved === null) {
    throw new SidekeyError('not_found', 'Nobody is signed in here.', { hint: 'sidekey login URL' });
  }
  // A failure keeps the file: the key would still be valid.
  const revoked = await endKey(saved, now());
  await rm(file, { force: true });
  const { url } = saved;
  output.result({ url, revoked, ended_at: isoTime(now()) }, `Signed out at ${new URL(url).host}.`);
}

/** Revokes the key of a login; returns false if it has expired. @throws SidekeyError as `ask` */
async function endKey({ url, key, expires_at }: SavedLogin, now: number): Promise<boolean> {
  if (Date.parse(expires_at) <= now) return false;
  const init = { method: 'DELETE', headers: { authorization: `Bearer ${key}` } };
  await ask(url, '/v2/me/key', init).catch((error: unknown) => {
    // Revoked before.
    if (!(error instanceof SidekeyError) || error.code !== 'api_auth_required') throw error;
  });
  return true;
}

async function loginFile(context: Context): Promise<string> {
  return join(dirname((await context.configLocation()).file), 'login.json');
}

/** Null: no login. @throws SidekeyError `input_invalid` */
async function readLogin(file: string): Promise<SavedLogin | null> {
  try {
    return savedSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (cause) {
    if (isSystemError(cause, 'ENOENT')) return null;
    throw new SidekeyError('input_invalid', `${file} cannot be read.`, {
      hint: 'remove it, and run: sidekey login URL',
      cause,
    });
  }
}

/** @throws SidekeyError `input_invalid` */
function serverUrl(address: string | undefined): string {
  if (address === undefined) {
    throw inputInvalid('Which Sidekey?', 'sidekey login https://sidekey.example.com');
  }
  const read = readReceiver(address);
  if (typeof read === 'string' && !read.includes('?')) return read.replace(/\/+$/, '');
  const reason = typeof read === 'string' ? 'has a query' : read.problem;
  throw new SidekeyError('input_invalid', `The address ${reason}.`, {
    hint: 'use that of admin.url: sidekey login https://sidekey.example.com',
  });
}

/** @throws SidekeyError `upstream_unreachable` */
function send(url: string, init: RequestInit): Promise<Response> {
  return fetch(url, init).catch((cause: unknown) => {
    const code = cause instanceof Error && cause.cause !== undefined ? ` (${systemCode(cause.cause)})` : '';
    throw new SidekeyError('upstream_unreachable', `${new URL(url).host} does not answer${code}.`, {
      hint: 'check the address, and NODE_EXTRA_CA_CERTS for a CA of your own',
      cause,
    });
  });
}

/** @throws SidekeyError `upstream_unreachable`, `api_auth_required`, `provider_refused` */
async function ask(url: string, path: string, init: RequestInit): Promise<Response> {
  const { host } = new URL(url);
  const answer = await send(url + path, { ...init, redirect: 'error', signal: AbortSignal.timeout(30_000) });
  if (answer.ok) return answer;
  if (answer.status === 401) {
    throw new SidekeyError(
      'api_auth_required',
      `${host} did not accept the code of this sign-in: it is more than a minute old, or was used.`,
      {
        hint: `sidekey login ${url}`,
      },
    );
  }
  throw noSidekey(host, answer);
}

function noSidekey(host: string, { status }: Response): SidekeyError {
  return new SidekeyError('provider_refused', `${host} answered HTTP ${status}, not as a Sidekey does.`, {
    hint: 'check the address: admin.url of that Sidekey',
  });
}
