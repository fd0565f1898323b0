/** A proxy with its API, and a real authorization server whose device flow is that of a provider. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startOAuthServer } from './oauth-server.ts';
import { startService } from './service.ts';
import { tempFolder } from './temp-folder.ts';

export interface DeviceCodes {
  readonly id: string;
  readonly user_code: string;
  readonly verification_uri: string;
  readonly verification_uri_complete: string;
}

export async function startDevice(provider: object = {}, now?: () => number) {
  const server = await startOAuthServer({ interval: 0.02 });
  const { issuer, clientId, clientSecret } = server;
  const folder = await tempFolder();
  await writeFile(join(folder, 'secret'), clientSecret, { mode: 0o600 });
  const service = await startService({
    folder,
    ...(now === undefined ? {} : { now }),
    config: {
      providers: {
        desk: {
          title: 'The Desk',
          device_authorization_endpoint: `${issuer}/device/auth`,
          token_endpoint: `${issuer}/token`,
          userinfo_endpoint: `${issuer}/me`,
          client_id: clientId,
          client_secret: 'file:secret',
          scopes: ['openid', 'offline_access', 'read'],
          audience: [new URL(issuer).host],
          ...provider,
        },
      },
    },
  });
  const { call } = service;
  return {
    ...service,
    server,
    /** Begins a session of alice. */
    async begin(body: object = {}) {
      const begun = await call('POST /v2/connect-sessions/device', {
        body: { provider: 'desk', user: 'alice', ...body },
      });
      return begun.body as DeviceCodes;
    },
    /** Resolves with the end of a session. */
    async ended({ id }: Pick<DeviceCodes, 'id'>) {
      for (;;) {
        const { body } = await call(`GET /v2/connect-sessions/${id}`);
        if (body.status !== 'pending') return body as Readonly<Record<string, unknown>>;
      }
    },
  };
}
