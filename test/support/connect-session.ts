/**
 * A proxy with its API, the sample company as a provider, and a browser for the pages of connect sessions.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { consentAs, type Person } from '../../examples/helpdesk/consent.ts';
import { startHelpdesk } from '../../examples/helpdesk/helpdesk.ts';
import { alice } from './connect-home.ts';
import { startService } from './service.ts';
import { tempFolder } from './temp-folder.ts';
import { upstreamHost } from './upstream.ts';

export interface ConnectOptions {
  /** Merged over the provider in the config. */
  readonly provider?: object;
  readonly now?: () => number;
  readonly returnUrls?: readonly string[];
  /** More providers of the config. */
  readonly providers?: object;
  readonly env?: NodeJS.ProcessEnv;
}

/** The address of the application that asks for grants. */
export const back = 'https://app.acme.test/connected';

async function sent(url: string, init: RequestInit) {
  const response = await fetch(url, { redirect: 'manual', ...init });
  return { status: response.status, headers: response.headers, body: await response.text() };
}

/** Sends a form of a page of Sidekey. */
function post(url: string, fields: Readonly<Record<string, string>>) {
  const headers = { 'sec-fetch-site': 'same-origin' };
  return sent(url, { method: 'POST', body: new URLSearchParams(fields), headers });
}

export async function startConnecting(options: ConnectOptions = {}) {
  const { provider = {}, providers = {}, now, returnUrls = [back], env } = options;
  const helpdesk = await startHelpdesk();
  onTestFinished(() => helpdesk.close());
  const { issuer, host, port } = helpdesk;
  const folder = await tempFolder();
  await writeFile(join(folder, 'helpdesk-ca.pem'), helpdesk.caCertificate);
  const service = await startService({
    folder,
    ...(env === undefined ? {} : { env }),
    ...(now === undefined ? {} : { now }),
    config: {
      admin: { listen: '127.0.0.1:0', return_urls: returnUrls },
      upstream: {
        ca: ['helpdesk-ca.pem', 'upstream-ca.pem'],
        resolve: { 'helpdesk.acme.test': '127.0.0.1', [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
      providers: {
        ...providers,
        acme: {
          title: 'Acme Helpdesk',
          authorization_endpoint: `${issuer}/authorize`,
          token_endpoint: `${issuer}/token`,
          userinfo_endpoint: `${issuer}/userinfo`,
          revocation_endpoint: `${issuer}/revoke`,
          issuer,
          client_id: 'sidekey-public',
          scopes: ['openid', 'email'],
          audience: [`helpdesk.acme.test:${port}`],
          ...provider,
        },
      },
    },
  });
  const { call } = service;
  return {
    ...service,
    helpdesk,
    /** Begins a session of alice. */
    async session(body: object = {}) {
      const request = { provider: 'acme', user: 'alice', return_url: back, ...body };
      const answer = await call('POST /v2/connect-sessions', { body: request });
      return answer.body as { id: string; connect_url: string; session_token: string; code: string };
    },
    /** Returns a new browser. */
    browser() {
      /** Secret that the pages store in this browser. */
      let secret: string | undefined;
      /** Opens an address, and does what the scripts of its page do. */
      const open = async (url: string, init: RequestInit = {}) => {
        const page = await sent(url, init);
        secret ??= /localStorage\['sidekey-browser'\] \?\?= "([\w-]{43})"/.exec(page.body)?.[1];
        return page.body.includes('document.forms[0].submit()') ? post(url, { browser: secret ?? '' }) : page;
      };
      const press = async (url: string, answer = 'yes') => {
        await open(url);
        return post(url, { answer, browser: secret ?? '' });
      };
      return {
        open,
        post,
        press,
        /** Presses the button of a link, and consents; returns the address of the callback. */
        async consent(url: string, person: Person = alice): Promise<string> {
          const pressed = await press(url);
          const location = pressed.headers.get('location') ?? '';
          const connection = { issuer, ca: helpdesk.caCertificate, connectTo: { host, port } };
          return (await consentAs(new URL(location), person, connection)).href;
        },
      };
    },
  };
}

/** Returns the address to which a page sends the browser. */
export function returned({ headers }: { readonly headers: Headers }): URL {
  return new URL((headers.get('refresh') ?? '').replace('0;url=', ''));
}
