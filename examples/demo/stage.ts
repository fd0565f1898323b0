import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '../../src/config/load.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import type { Log } from '../../src/lib/log.ts';
import { startProxy, type Proxy } from '../../src/app/proxy.ts';
import type { Connection } from '../helpdesk/connection.ts';
import { startHelpdesk, type Helpdesk } from '../helpdesk/helpdesk.ts';
import type { Clock } from './clock.ts';
import { configText } from './config-text.ts';
import { makeFolder } from './folder.ts';
import { freePort } from './free-port.ts';

/** Everything that the demo runs, in a folder of its own. */
export interface Stage {
  readonly folder: string;
  readonly configFile: string;
  readonly helpdesk: Helpdesk;
  readonly proxy: Proxy;
  /** `http://127.0.0.1:PORT` */
  readonly proxyUrl: string;
  /** How a browser reaches the helpdesk, whose name resolves nowhere. */
  readonly browser: Connection;
  /** Drains, closes, and removes the folder. */
  close(): Promise<void>;
}

export interface StageOptions {
  /** Ports to take where they are free. */
  readonly ports: { readonly proxy: number; readonly helpdesk: number };
  /** Seconds that an access token lives. */
  readonly accessTokenTtl: number;
  readonly clock: Clock;
  readonly log: Log;
}

const host = '127.0.0.1';

/**
 * Starts the sample company, and the proxy on the defaults of an empty config. Nothing stays where it fails.
 */
export async function openStage(options: StageOptions): Promise<Stage> {
  await using opened = new AsyncDisposableStack();
  const folder = opened.adopt(await makeFolder(), (it) => it.remove());
  const helpdesk = opened.adopt(await openHelpdesk(options), (it) => it.close());
  const config = join(folder.path, 'config');
  await mkdir(config, { mode: 0o700 });
  await writeFile(join(config, 'acme-root.pem'), helpdesk.caCertificate);
  await writeFile(join(config, 'acme-client.secret'), helpdesk.clientSecret, { mode: 0o600 });
  const configFile = join(config, 'sidekey.yaml');
  const proxy = opened.adopt(await openProxy(configFile, helpdesk, options), (it) => it.close());
  const all = opened.move();
  return {
    folder: folder.path,
    configFile,
    helpdesk,
    proxy,
    proxyUrl: `http://${host}:${proxy.address.port}`,
    browser: {
      issuer: helpdesk.issuer,
      ca: helpdesk.caCertificate,
      connectTo: { host: helpdesk.host, port: helpdesk.port },
    },
    close: () => all.disposeAsync(),
  };
}

async function openHelpdesk({ ports, accessTokenTtl }: StageOptions): Promise<Helpdesk> {
  try {
    return await startHelpdesk({ host, port: ports.helpdesk, accessTokenTtl });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error;
    return startHelpdesk({ host, accessTokenTtl });
  }
}

/**
 * The port stands in the config file before the proxy takes it, and someone else may be quicker: a few tries.
 */
async function openProxy(configFile: string, helpdesk: Helpdesk, options: StageOptions): Promise<Proxy> {
  const { ports, clock, log } = options;
  for (let tries = 1; ; tries += 1) {
    const port = await freePort(ports.proxy);
    await writeFile(configFile, configText({ listen: `${host}:${port}`, helpdesk }));
    try {
      const config = await loadConfig(configFile, { env: {} });
      return await startProxy(config, { log, now: clock.now, env: {} });
    } catch (error) {
      if (!(error instanceof SidekeyError && error.code === 'port_in_use') || tries === 5) throw error;
    }
  }
}
