import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { home, program, type Home, type Ran } from '../support/command-line.ts';

const secrets = {
  access: 'leak-access-token-0123456789',
  refresh: 'leak-refresh-token-0123456789',
  client: 'leak-client-secret-0123456789',
  key: 'leak-api-key-0123456789',
  password: 'leak-password-0123456789',
  header: 'leak-header-value-0123456789',
};
const all = Object.values(secrets);

/**
 * A secret, or a part of one that is long enough to be of use, in any of the forms in which it could be
 * written.
 */
function found(text: string): string[] {
  return all.filter((secret) => {
    const core = secret.slice(5, -5);
    const forms = [
      core,
      Buffer.from(core).toString('hex'),
      Buffer.from(secret).toString('base64').slice(4, -4),
    ];
    return forms.some((form) => text.includes(form));
  });
}

const credentials: readonly (readonly [name: string, credential: object])[] = [
  [
    'oauth',
    {
      access_token: secrets.access,
      refresh_token: secrets.refresh,
      client_id: 'sidekey',
      client_secret: secrets.client,
      token_endpoint: 'https://127.0.0.1:1/token',
      expires_in: 3600,
    },
  ],
  ['key', { type: 'api_key', value: secrets.key }],
  ['basic', { type: 'basic', username: 'bot', password: secrets.password }],
  ['headers', { type: 'headers', headers: { 'X-Secret': secrets.header } }],
];

async function homeWithSecrets(): Promise<{ at: Home; said: Ran[] }> {
  const at = await home({ domains: { 'helpdesk.acme.test:8443': { grant: 'oauth' } } });
  const said: Ran[] = [];
  for (const [name, credential] of credentials) {
    // The first as the program that people run; the rest within this process, which is many times as fast.
    const add = said.length === 0 ? at.program : at.run;
    said.push(
      await add(['grant', 'import', name, '--provider', 'acme'], { input: JSON.stringify(credential) }),
    );
  }
  expect(said.map(({ exit }) => exit)).toEqual([0, 0, 0, 0]);
  return { at, said };
}

describe('a secret that was given to Sidekey', () => {
  test('never appears in the output of the command line, as text or JSON', async () => {
    const { at, said } = await homeWithSecrets();
    const url = 'https://helpdesk.acme.test:8443/tickets';
    const commands = [
      ['grant', 'list'],
      ...credentials.map(([name]) => ['grant', 'show', name]),
      ['grant', 'refresh', 'oauth', '--force'],
      ['domain', 'list'],
      ['domain', 'allow', 'other.example.com', '--grant', 'key'],
      ['explain', url],
      ['status'],
      ['audit', 'tail'],
      ['audit', 'query'],
      ['audit', 'verify'],
      ['grant', 'revoke', 'basic'],
      ['grant', 'remove', 'headers'],
    ];
    for (const command of commands) {
      said.push(...(await Promise.all([at.run(command), at.run([...command, '--json'])])));
    }
    for (const [name, credential] of credentials) {
      const input = JSON.stringify(credential);
      const add = ['grant', 'import', name, '--provider', 'acme'];
      said.push(await at.run([...add, '--replace'], { input }));
      const refused = [
        input,
        input.slice(0, -4),
        input.replace(/"([^"]+)"(\}+)$/, '"$1\\u0000"$2'),
        JSON.stringify({ ...credential, [`${secrets.key}-${secrets.key}`]: secrets.access }),
      ];
      said.push(...(await Promise.all(refused.map((text) => at.run(add, { input: text })))));
    }
    for (const { stdout, stderr } of said) expect(found(stdout + stderr)).toEqual([]);
  });

  test('never appears in a file in plaintext, and only the certificate is readable by others', async () => {
    const { at } = await homeWithSecrets();
    await (await at.start()).stop();
    const names = await readdir(at.folder, { recursive: true });
    expect(names).toContain(join('data', 'sidekey.db'));
    for (const name of names) {
      const { mode } = await stat(at.at(name));
      if (name !== join('certs', 'ca.crt')) expect(mode & 0o077, name).toBe(0);
      if ((mode & 0o170000) === 0o100000)
        expect(found(await readFile(at.at(name), 'latin1')), name).toEqual([]);
    }
  });

  test('is not repeated if it was put on the command line by mistake', async () => {
    const at = await home();
    await at.grant('key', { type: 'api_key', value: 'other' });
    const { key } = secrets;
    const said = await Promise.all([
      at.run(['grant', 'import', 'work', key, '--provider', 'acme']),
      at.run(['grant', 'import', 'work', '--provider', 'acme', `--token=${key}`]),
      at.run([key]),
      at.run(['grant', key]),
      at.run(['audit', key]),
      at.run(['audit', 'query', '--since', key]),
      at.run(['audit', 'tail', '-n', key]),
      at.run(['grant', 'import', `:${key}`, '--provider', 'acme']),
      at.run(['grant', 'import', 'work', '--user', `:${key}`, '--provider', 'acme']),
      at.run(['grant', 'import', 'work', '--provider', `:${key}`]),
      at.run(['grant', 'show', `:${key}`]),
      at.run(['agent', 'remove', `sidekey_agent_${key}`]),
      at.run(['ca', 'export', '--format', key]),
      at.run(['explain', key, 'https://example.com/']),
      at.run(['explain', `https://user:${key}@example.com/?token=${key}`]),
    ]);
    for (const { exit, stdout, stderr } of said) {
      expect(exit).toBeGreaterThan(0);
      expect(found(stdout + stderr)).toEqual([]);
    }
  });

  test.skipIf(process.platform !== 'linux')(
    'never appears in the arguments or the environment of a process',
    async () => {
      const at = await home();
      const child = spawn(
        process.execPath,
        [program, 'grant', 'import', 'work', '--provider', 'acme', '--config', at.configFile],
        { stdio: ['pipe', 'ignore', 'ignore'], env: { PATH: process.env['PATH'] } },
      );
      // It waits for the rest of its input: so long everybody can look at it.
      child.stdin.write(`{"type":"api_key","value":"${secrets.key}"`);
      const seen = await Promise.all(
        ['cmdline', 'environ'].map((name) => readFile(`/proc/${child.pid}/${name}`, 'latin1')),
      );
      child.stdin.end('}');
      expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
      expect(found(seen.join('\n'))).toEqual([]);
    },
  );

  test('never appears in a crash report: an unexpected error shows no input', async () => {
    const at = await home();
    // A config folder that vanishes under way, a store that is a device: whatever happens, it is told in one
    // line.
    await writeFile(at.configFile, 'version: 1\nstore: sqlite:/dev/null/x.db\n');
    const ran = await at.program(['grant', 'import', 'work', '--provider', 'acme'], {
      input: JSON.stringify({ type: 'api_key', value: secrets.key }),
    });
    expect(ran.exit).toBeGreaterThan(0);
    expect(found(ran.stdout + ran.stderr)).toEqual([]);
    expect(ran.stderr).not.toMatch(/^ {4}at /m);
  });
});

test('the token of an agent is shown once and stored nowhere', async () => {
  const at = await home();
  const { token } = (await at.json(['agent', 'create', 'ci', '--everything'])) as { token: string };
  const later = await Promise.all([at.run(['agent', 'list']), at.run(['audit', 'tail']), at.run(['status'])]);
  for (const { stdout, stderr } of later) expect(stdout + stderr).not.toContain(token.slice(-20));
  for (const name of await readdir(at.at('data'))) {
    expect(await readFile(at.at('data', name), 'latin1'), name).not.toContain(token.slice(-20));
  }
});
