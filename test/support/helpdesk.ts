import { oauth2Credential } from './oauth2-credential.ts';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { obtainTokens } from '../../examples/helpdesk/authorization-code.ts';
import { startHelpdesk, type Helpdesk, type ReceivedRequest } from '../../examples/helpdesk/helpdesk.ts';
import type { Grant } from '../../src/domain/grant.ts';
import { openTunnel, type RawClient } from './raw-client.ts';
import { startSidekey, type TestSidekey } from './sidekey.ts';
import { tempFolder } from './temp-folder.ts';

const host = 'helpdesk.acme.test';

/**
 * The sample company, a proxy with a grant of the user alice for it, and the requests that the company
 * received.
 */
export interface HelpdeskProxy {
  readonly helpdesk: Helpdesk;
  readonly authority: string;
  readonly sidekey: TestSidekey;
  readonly grant: Grant;
  /** Bearer tokens of the requests to the API, in order. */
  readonly tokens: string[];
  readonly received: ReceivedRequest[];
  readonly client: (sidekey?: TestSidekey) => Promise<RawClient>;
  /** Another proxy on the same state. */
  readonly second: () => Promise<TestSidekey>;
}

export interface HelpdeskProxyOptions {
  /** Seconds until the first token expires according to the grant; negative: it has expired. */
  readonly expiresIn: number;
  readonly skew?: string;
  readonly limits?: object;
}

export async function startHelpdeskProxy(options: HelpdeskProxyOptions): Promise<HelpdeskProxy> {
  const helpdesk = await startHelpdesk();
  onTestFinished(() => helpdesk.close());
  const authority = `${host}:${helpdesk.port}`;
  const folder = await tempFolder();
  await writeFile(join(folder, 'helpdesk-ca.pem'), helpdesk.caCertificate);
  const start = () =>
    startSidekey({
      folder,
      domains: { [authority]: { grant: 'acme' } },
      config: {
        tokens: { refresh_before_expiry: options.skew ?? '1m' },
        upstream: {
          ca: ['helpdesk-ca.pem'],
          resolve: { [host]: '127.0.0.1' },
          private_addresses: ['127.0.0.1/32'],
        },
        providers: {
          acme: {
            token_endpoint: `${helpdesk.issuer}/token`,
            client_id: helpdesk.clientId,
            audience: [authority],
          },
        },
        limits: options.limits ?? {},
      },
    });
  const sidekey = await start();
  const connection = {
    issuer: helpdesk.issuer,
    ca: helpdesk.caCertificate,
    connectTo: { host: helpdesk.host, port: helpdesk.port },
  };
  const alice = { user: 'alice@acme.test', password: 'demo1234' };
  const obtained = await obtainTokens(connection, helpdesk, alice, {
    scope: 'openid read:tickets write:tickets',
  });
  const now = Date.now();
  const grant = await sidekey.grant([authority], {
    credential: oauth2Credential({
      accessToken: obtained.access_token,
      refreshToken: obtained.refresh_token ?? null,
      expiresAt: now + options.expiresIn * 1_000,
      obtainedAt: now - 3_600_000,
      scope: obtained.scope ?? null,
      clientId: helpdesk.clientId,
      clientSecret: helpdesk.clientSecret,
    }),
  });
  const tokens: string[] = [];
  const received: ReceivedRequest[] = [];
  helpdesk.requests.on('request', (request) => {
    received.push(request);
    if (request.url.startsWith('/tickets')) tokens.push(request.headers.authorization ?? '');
  });
  return {
    helpdesk,
    authority,
    sidekey,
    grant,
    tokens,
    received,
    client: (through = sidekey) => openTunnel(through, authority, { servername: host }),
    second: start,
  };
}

/** A request for the tickets of alice. */
export function ticketsRequest(authority: string): string {
  return `GET /tickets?assignee=me HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
}

/** A request that opens a ticket; `padding` bytes extend its body. */
export function newTicketRequest(authority: string, padding = 0): string {
  const body = JSON.stringify({
    title: 'Broken chair',
    team: 'facilities',
    description: 'x'.repeat(padding),
  });
  return (
    `POST /tickets HTTP/1.1\r\nHost: ${authority}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`
  );
}
