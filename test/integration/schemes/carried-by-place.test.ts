/** The scheme of a credential at each place, in the output for people and for programs. */
import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

test('provider show prints how the credential is sent to each place, and in JSON as the config file would', async () => {
  const at = await home();
  const { stdout } = await at.run(['provider', 'show', 'github']);
  expect(stdout).toMatch(/carried as +depends on the place, see below/);
  expect(stdout).toContain(
    [
      'Carried as:',
      '  Authorization: Basic x-access-token:…',
      '    at github.com /*/*/info/refs /*/*/git-upload-pack /*/*/git-receive-pack /*/*/info/lfs/**',
      '  no credential; the client’s own Authorization is forwarded',
      '    at github.com',
    ].join('\n'),
  );
  expect(stdout).toContain('  Authorization: Bearer …\n    elsewhere\n');
  expect(await at.json(['provider', 'show', 'bitbucket'])).toMatchObject({
    inject: [
      {
        hosts: ['bitbucket.org'],
        as: { basic: 'x-token-auth', pair_username: 'x-bitbucket-api-token-auth' },
      },
      { hosts: ['bitbucket.org'], as: 'own' },
      { as: 'bearer' },
    ],
  });
  expect(await at.json(['provider', 'show', 'anthropic'])).toMatchObject({ inject: { header: 'x-api-key' } });
});

test('explain prints how the credential of a request is sent', async () => {
  const at = await home({
    domains: { 'github.com': { grant: 'github' }, 'auth.docker.io': { grant: 'hub' } },
  });
  await at.grant('github', { type: 'api_key', value: 'secret-of-github' }, ['--provider', 'github']);
  await at.grant('hub', { type: 'basic', username: 'ann', password: 'secret-of-hub' }, [
    '--provider',
    'dockerhub',
  ]);
  const step = async (url: string) => {
    const { stdout } = await at.run(['explain', 'GET', url]);
    return stdout
      .split('\n')
      .filter((line) => /injection|Allowed|refused/i.test(line))
      .join('\n');
  };
  expect(await step('https://github.com/acme/widgets.git/info/refs?service=git-upload-pack')).toMatch(
    /✓ +injection +Authorization: Basic x-access-token:… \(set by the provider github\)\n[^]*with the credential of github/,
  );
  expect(await step('https://github.com/acme/widgets')).toMatch(
    /✓ +injection +no credential; the client’s own Authorization is forwarded[^]*Allowed: unchanged, without a credential/,
  );
  expect(await step('https://auth.docker.io/elsewhere')).toMatch(
    /✗ +injection +policy_violation[^]*does not say how its credential is carried/,
  );
});

test('a host outside the audience is allowed in the map if the client has its own credential', async () => {
  const at = await home({ domains: { 'a.test': 'deny' } });
  await at.grant('hub', { type: 'basic', username: 'ann', password: 'secret-of-hub' }, [
    '--provider',
    'dockerhub',
  ]);
  const allowed = await at.run(['domain', 'allow', 'registry-1.docker.io', '--grant', 'hub']);
  expect([allowed.exit, allowed.stderr]).toEqual([0, '']);
  const beyond = await at.run(['domain', 'allow', 'hub.docker.com', '--grant', 'hub']);
  expect(beyond.stderr).toContain('may be sent to auth.docker.io only');
});

test.each([
  ['inject: [{ as: bearer, hosts: [] }]', 'is empty'],
  ['inject: []', 'is empty'],
  ['inject: [{ hosts: [a.test] }]', 'as'],
  ['inject: [{ as: own, paths: [x] }]', 'must begin with /'],
  ['inject: { basic: "a:b" }', 'without a colon'],
  ['inject: own', 'must be bearer'],
])('%s is refused', async (inject, message) => {
  const at = await home({ domains: {} });
  const text = await readFile(at.configFile, 'utf8');
  await writeFile(at.configFile, `${text}providers:\n  corp:\n    audience: [a.test]\n    ${inject}\n`);
  const ran = await at.run(['provider', 'show', 'corp']);
  expect(ran.exit).not.toBe(0);
  expect(ran.stderr).toContain(message);
});
