import { request } from 'node:http';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { writeFile } from 'node:fs/promises';
import { onTestFinished } from 'vitest';
import { consentAs, type Person } from '../../examples/helpdesk/consent.ts';
import { startHelpdesk, type Helpdesk, type HelpdeskOptions } from '../../examples/helpdesk/helpdesk.ts';
import { run } from '../../src/cli/index.ts';
import { home, type Home, type Ran, type RunOptions } from './command-line.ts';

export const alice: Person = { user: 'alice@acme.test', password: 'demo1234' };

/** A home whose config has the sample company as the provider acme. */
export interface AcmeHome extends Home {
  readonly helpdesk: Helpdesk;
  /** `helpdesk.acme.test:PORT` */
  readonly authority: string;
  /** Opens an address as a person's browser does, and returns the last page. */
  readonly consent: (url: string, person?: Person) => Promise<URL>;
  /** Starts a command that runs while the test continues. */
  readonly begin: (args: readonly string[], options?: BeginOptions) => Begun;
}

export interface BeginOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** True when standard input is a terminal. */
  readonly terminal?: boolean;
}

/** A running command. */
export interface Begun {
  /** Resolves with standard error when it contains this. */
  readonly said: (text: string | RegExp) => Promise<string>;
  /** Resolves with the address of the consent page when it is printed. */
  readonly consentUrl: () => Promise<string>;
  readonly stdin: PassThrough;
  readonly done: Promise<Ran>;
}

export interface AcmeOptions {
  /** Merged over the provider in the config file. */
  readonly provider?: object | ((issuer: string) => object);
  readonly config?: object;
  readonly helpdesk?: HelpdeskOptions;
}

export const secret = 'acme-demo-secret';

export async function acmeHome({
  provider = {},
  config = {},
  ...options
}: AcmeOptions = {}): Promise<AcmeHome> {
  const helpdesk = await startHelpdesk(options.helpdesk);
  onTestFinished(() => helpdesk.close());
  const authority = `helpdesk.acme.test:${helpdesk.port}`;
  const at = await home({
    // At the start, because commands append their entries at the end.
    workers: 1,
    upstream: {
      ca: ['helpdesk-ca.pem'],
      resolve: { 'helpdesk.acme.test': '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      acme: {
        title: 'Acme Helpdesk',
        authorization_endpoint: `${helpdesk.issuer}/authorize`,
        token_endpoint: `${helpdesk.issuer}/token`,
        issuer: helpdesk.issuer,
        client_id: helpdesk.clientId,
        client_secret: 'env:ACME_SECRET',
        scopes: ['openid', 'read:tickets'],
        audience: [authority],
        ...(typeof provider === 'function' ? provider(helpdesk.issuer) : provider),
      },
    },
    ...config,
  });
  await writeFile(join(at.folder, 'config', 'helpdesk-ca.pem'), helpdesk.caCertificate);
  const connection = {
    issuer: helpdesk.issuer,
    ca: helpdesk.caCertificate,
    connectTo: { host: helpdesk.host, port: helpdesk.port },
  };
  return {
    ...at,
    run: (args, options) => at.run(args, withSecret(options)),
    json: (args, options) => at.json(args, withSecret(options)),
    helpdesk,
    authority,
    consent: (url, person = alice) => consentAs(new URL(url), person, connection),
    begin: (args, given) => begin([...args, '--config', at.configFile], at.folder, given),
  };
}

const withSecret = ({ env, ...options }: RunOptions = {}): RunOptions => ({
  ...options,
  env: { ACME_SECRET: secret, ...env },
});

/** Runs a command within this process, and gives the test its output while it runs. */
export function begin(
  args: readonly string[],
  folder: string,
  { env = {}, terminal = false }: BeginOptions = {},
): Begun {
  const written = { stdout: '', stderr: '' };
  const waiting = new Set<() => void>();
  const to = (name: keyof typeof written) => ({
    write(text: string | Uint8Array) {
      written[name] += typeof text === 'string' ? text : Buffer.from(text).toString();
      for (const look of waiting) look();
      return true;
    },
  });
  const stdin = Object.assign(new PassThrough(), terminal ? { isTTY: true, setRawMode: () => stdin } : {});
  process.chdir(folder);
  const done = run(args, {
    env: { HOME: folder, ACME_SECRET: secret, ...env },
    stdin,
    stdout: to('stdout'),
    stderr: terminal ? Object.assign(new PassThrough(), to('stderr')) : to('stderr'),
  }).then((exit) => ({ exit, ...written }));
  const said: Begun['said'] = (text) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const look = () => {
      if (typeof text === 'string' ? !written.stderr.includes(text) : !text.test(written.stderr)) return;
      waiting.delete(look);
      resolve(written.stderr);
    };
    waiting.add(look);
    look();
    void done.then(({ stderr }) => reject(new Error(`The command ended, and said only: ${stderr}`)));
    return promise;
  };
  return {
    said,
    async consentUrl() {
      const [url = ''] = /https:\/\/[^\s"]+/.exec(await said(/https:\/\/\S+\s/)) ?? [];
      return url;
    },
    stdin,
    done,
  };
}

/** A response of the loopback listener. */
export interface Visited {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface VisitOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The request target, unchanged. */
  readonly path?: string;
}

/** Opens an address of this machine as a browser does; `headers` replace its own. */
export function visit(url: URL | string, { headers = {}, ...options }: VisitOptions = {}): Promise<Visited> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { ...options, headers, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
      response.on('error', reject);
    });
    asked.on('error', reject);
    asked.end();
  });
}
