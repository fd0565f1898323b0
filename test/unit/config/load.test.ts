import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { loadConfig, parseConfig } from '../../../src/config/load.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { hintText } from '../../../src/lib/hint.ts';

const fixtures = join(import.meta.dirname, '../../fixtures/config');
const good = (name: string): string => join(fixtures, 'good', name);
const shipped = join(import.meta.dirname, '../../../config/default.yaml');

async function failure(promise: Promise<unknown>): Promise<SidekeyError> {
  const error: unknown = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof SidekeyError)) throw new Error('expected a SidekeyError', { cause: error });
  return error;
}

describe('an invalid config is refused with the problem and its position', async () => {
  const folder = join(fixtures, 'bad');
  for (const file of await readdir(folder)) {
    test(file, async () => {
      const text = await readFile(join(folder, file), 'utf8');
      const expected = [...text.matchAll(/^# expect(?: (?<code>\w+))?: (?<line>.*)$/gm)];
      const error = await failure(loadConfig(file, { env: {}, cwd: folder }));
      expect(expected.length).toBeGreaterThan(0);
      expect(error.message.split('\n')).toEqual(expected.map(({ groups }) => `${file}:${groups?.['line']}`));
      expect(error.code).toBe(expected[0]?.groups?.['code'] ?? 'config_invalid');
      expect(error.hint).toBeTruthy();
    });
  }
});

describe('a valid config', () => {
  test('has every default when it is minimal', async () => {
    const config = await loadConfig(good('least.yaml'), { env: {} });
    expect(config).toMatchObject({
      file: good('least.yaml'),
      proxy: {
        listen: { host: '127.0.0.1', port: 8377 },
        authentication: 'optional',
        localCallers: 'same_user',
        unmatchedHosts: 'deny',
      },
      store: { kind: 'sqlite', path: join(fixtures, 'data/sidekey.db') },
      key: { source: 'file', path: join(fixtures, 'data/master.key') },
      ca: { directory: join(fixtures, 'certs'), permittedNames: [] },
      audit: { file: join(fixtures, 'data/audit.jsonl'), maxBytes: 100 * 1024 * 1024 },
      tokens: { skewMs: 300_000, keepFreshMs: 86_400_000 },
      admin: { listen: null, url: null },
      approvals: { timeoutMs: 180_000, maxPending: 20, webhook: null },
      upstream: { ca: [], privateAddresses: [], proxy: null, clientCertificates: [] },
      domains: [],
      limits: defaultLimits,
      log: { level: 'info' },
    });
    expect(config.upstream.resolve.size).toBe(0);
  });

  test('as shipped loads, and names the schema for editors', async () => {
    await expect(loadConfig(shipped, { env: {} })).resolves.toHaveProperty('file', shipped);
    const text = await readFile(shipped, 'utf8');
    expect(text.startsWith('# yaml-language-server: $schema=sidekey.schema.json\n')).toBe(true);
  });

  test('with every key is read completely', async () => {
    const config = await loadConfig(good('everything.yaml'), { env: {}, cwd: fixtures });
    const folder = join(fixtures, 'good');
    expect(config).toMatchObject({
      proxy: {
        listen: { host: '::1', port: 0 },
        authentication: 'required',
        localCallers: 'any',
        unmatchedHosts: 'tunnel',
      },
      store: { path: join(folder, 'state/sidekey.db') },
      key: { source: 'env', name: 'SIDEKEY_MASTER_KEY' },
      ca: { directory: '/var/lib/sidekey/ca', permittedNames: ['acme.test', '10.1.2.0/24'] },
      audit: { file: join(folder, 'state/audit.jsonl'), maxBytes: 10_000_000 },
      tokens: { skewMs: 90_000, keepFreshMs: 43_200_000 },
      admin: { listen: { host: '0.0.0.0', port: 8378 }, url: 'https://sidekey.corp.test/people' },
      approvals: {
        timeoutMs: 600_000,
        maxPending: 3,
        webhook: {
          url: 'https://chat.corp.test/hooks/1?to=ops',
          secret: { kind: 'env', name: 'APPROVAL_SECRET' },
        },
      },
      upstream: {
        ca: [join(folder, 'company-root.pem')],
        privateAddresses: ['10.1.2.0/24', 'fd00::1'],
        proxy: {
          authority: { scheme: 'https', host: 'proxy.corp.test', port: 3129 },
          login: {
            user: 'CORP\\sidekey',
            password: { kind: 'env', name: 'CORP_PROXY_PASSWORD' },
            origin: 'good/everything.yaml:21:5: upstream.proxy.password',
          },
          remoteDns: true,
        },
        noProxy: {
          hosts: [{ text: '*.corp.test' }, { text: 'helpdesk.acme.test:8443' }],
          blocks: [{ address: '10.0.0.0', prefix: 8 }, { address: '::1' }],
        },
        clientCertificates: [
          {
            pattern: { text: '*.partner.test' },
            files: { cert: join(folder, 'client.crt'), key: '/etc/sidekey/client.key' },
            passphrase: null,
            origin: 'good/everything.yaml:25:5: upstream.client_certificates["*.Partner.test"]',
          },
          {
            pattern: { text: 'bank.test:8443' },
            files: { pfx: join(folder, 'bank.p12') },
            passphrase: { kind: 'file', path: 'bank.secret' },
          },
        ],
      },
      limits: {
        ...defaultLimits,
        head_bytes: 32_768,
        body_bytes: 1_000_000,
        head_timeout: 5_000,
        client_connections: 50,
      },
      log: { level: 'debug' },
    });
    expect([...config.vaults.values()]).toEqual([
      {
        address: 'https://vault.corp.test:8200',
        namespace: 'team-a',
        ca: join(folder, 'vault.pem'),
        login: {
          method: 'approle',
          mount: 'approle',
          role: 'r1',
          secret: { kind: 'env', name: 'SECRET_ID' },
        },
        where: 'vaults.main.approle.secret_id',
      },
      {
        address: 'http://127.0.0.1:8200',
        namespace: null,
        ca: null,
        login: { method: 'token', secret: { kind: 'file', path: '/run/vault/token' } },
        where: 'vaults.agent.token',
      },
      expect.objectContaining({
        login: {
          method: 'kubernetes',
          mount: 'kubernetes/prod',
          role: 'sidekey',
          secret: { kind: 'file', path: '/var/run/secrets/kubernetes.io/serviceaccount/token' },
        },
        where: 'vaults.cluster.kubernetes.jwt',
      }),
      expect.objectContaining({
        login: { method: 'jwt', mount: 'jwt', role: 'sidekey', secret: { kind: 'file', path: 'jwt' } },
        where: 'vaults.ci.jwt.jwt',
      }),
    ]);
    expect([...config.upstream.resolve]).toEqual([['helpdesk.acme.test', '10.1.2.3']]);
    expect(config.domains.map(({ pattern, action }) => [pattern.text, action])).toEqual([
      ['api.github.com', { kind: 'grant', grant: 'github', allowPlainHttp: false }],
      ['*.googleapis.com', { kind: 'grant', grant: 'google', allowPlainHttp: false }],
      ['helpdesk.acme.test:8443', { kind: 'grant', grant: 'acme', allowPlainHttp: true }],
      ['example.org', { kind: 'tunnel' }],
      ['*.example.net', { kind: 'deny' }],
    ]);
    expect(config.domains[0]?.origin).toBe('domains["API.github.com"] (good/everything.yaml:28)');
  });

  test('may use an alias, JSON, or a non-loopback listener with tokens', async () => {
    const aliases = await loadConfig(good('aliases.yaml'), { env: {} });
    const github = { kind: 'grant', grant: 'github', allowPlainHttp: false };
    expect(aliases.domains.map(({ action }) => action)).toEqual([github, github]);
    await expect(loadConfig(good('json.yaml'), { env: {} })).resolves.toHaveProperty('domains.length', 1);
    await expect(loadConfig(good('open-with-tokens.yaml'), { env: {} })).resolves.toBeDefined();
  });

  test('is deeply frozen, including maps', async () => {
    const config = await loadConfig(good('everything.yaml'), { env: {} });
    const frozenAll = (value: unknown): boolean =>
      typeof value !== 'object' ||
      value === null ||
      (Object.isFrozen(value) && Object.values(value).every(frozenAll));
    expect(frozenAll(config)).toBe(true);
    expect(config.providers.names.map((name) => config.providers.get(name)).every(frozenAll)).toBe(true);
    const map = config.upstream.resolve as Map<string, string>;
    expect(() => map.set('api.github.com', '10.0.0.1')).toThrow(TypeError);
    expect(() => map.clear()).toThrow(TypeError);
  });
});

describe('an unreadable config file', () => {
  test('is refused with the command that creates the file when it is missing', async () => {
    const folder = await tempFolder();
    const error = await failure(loadConfig('sidekey.yaml', { env: {}, cwd: folder }));
    expect(error.code).toBe('config_missing');
    expect(error.message).toBe('There is no config file sidekey.yaml.');
    expect(hintText(error.hint)).toContain(`cp ${shipped} ${join(folder, 'sidekey.yaml')}`);
  });

  test('is refused when it is a folder, not UTF-8, or too large', async () => {
    const cwd = await tempFolder();
    await mkdir(join(cwd, 'folder.yaml'));
    await writeFile(join(cwd, 'latin1.yaml'), Buffer.from('version: 1 # \xe9\n', 'latin1'));
    await writeFile(join(cwd, 'large.yaml'), `version: 1\n#${'x'.repeat(1_048_576)}`);
    const message = async (file: string): Promise<string> =>
      (await failure(loadConfig(file, { env: {}, cwd }))).message;
    expect(await message('folder.yaml')).toBe('The config file folder.yaml is not a regular file.');
    expect(await message('latin1.yaml')).toBe('latin1.yaml:1:1: is not UTF-8 text.');
    expect(await message('large.yaml')).toBe('large.yaml:1:1: is larger than 1 MiB.');
    // The limit cuts a character: the problem is the size, and not the encoding.
    await writeFile(join(cwd, 'large.yaml'), `##${'ü'.repeat(1_048_576)}`);
    expect(await message('large.yaml')).toBe('large.yaml:1:1: is larger than 1 MiB.');
    const text = `version: 1\n#${'x'.repeat(1_048_576)}`;
    await expect(parseConfig(text, 'sidekey.yaml', { env: {}, cwd })).rejects.toMatchObject({
      message: 'sidekey.yaml:1:1: is larger than 1 MiB.',
    });
  });

  test('is refused without blocking when it is a pipe', async () => {
    const cwd = await tempFolder();
    await promisify(execFile)('mkfifo', [join(cwd, 'sidekey.yaml')]);
    expect(await failure(loadConfig('sidekey.yaml', { env: {}, cwd }))).toMatchObject({
      code: 'config_invalid',
      message: 'The config file sidekey.yaml is not a regular file.',
      hint: 'make sidekey.yaml a file that the user of this process can read',
    });
  });

  test('is refused without blocking when a provider definition is a pipe', async () => {
    const cwd = await tempFolder();
    await mkdir(join(cwd, 'providers'));
    await writeFile(join(cwd, 'sidekey.yaml'), 'version: 1\n');
    await promisify(execFile)('mkfifo', [join(cwd, 'providers/x.yaml')]);
    expect(await failure(loadConfig('sidekey.yaml', { env: {}, cwd }))).toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(/providers\/x\.yaml is not a regular file\.$/) as string,
    });
  });

  test('is refused when its nesting would exhaust the stack', async () => {
    const text = `version: 1\nlog: ${'['.repeat(200_000)}`;
    const error = await failure(parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' }));
    expect(error.code).toBe('config_invalid');
  });

  test('with thousands of problems is refused quickly, and only the first problems are reported', async () => {
    const keys = Array.from({ length: 20_000 }, (_, index) => `key${index}: 1`).join('\n');
    const error = await failure(parseConfig(keys, '/x/sidekey.yaml', { env: {}, cwd: '/x' }));
    expect(error.message.split('\n')).toHaveLength(21);
    expect(error.message).toContain('… and 19981 more.');
  });
});

test.each(['sidekey.internal', 'Sidekey.Internal.', 'sidekey.internal:8080'])(
  'a domain entry for the proxy itself, %s, is refused at its position',
  async (host) => {
    const text = `version: 1\ndomains:\n  a.b.test: tunnel\n  "${host}": tunnel\n`;
    await expect(parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(/sidekey\.yaml:4:3: .*is the proxy itself/),
    });
  },
);
