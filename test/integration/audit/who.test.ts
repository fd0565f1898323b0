/** Callers and addresses in the audit log, for the command line and a real proxy. */
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { expect, test } from 'vitest';
import type { AuditLine } from '../../../src/domain/event.ts';
import { atCommandLine } from '../../../src/cli/context.ts';
import { home, type Home } from '../../support/command-line.ts';
import { openClient } from '../../support/raw-client.ts';

const user = userInfo().username;

const linesOf = (at: Home) =>
  readFileSync(at.at('data', 'audit.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditLine);

test.each([
  [{}, { by: user, client: 'cli' }],
  [{ SUDO_USER: 'alice' }, { by: `alice (as ${user})`, client: 'cli' }],
  [{ SUDO_USER: user }, { by: user, client: 'cli' }],
  [{ SUDO_USER: 'a\n","by":"x' }, { by: user, client: 'cli' }],
  [{ SSH_CONNECTION: '192.0.2.7 5022 10.0.0.1 22' }, { by: user, client: 'cli:192.0.2.7:5022' }],
  [{ SSH_CONNECTION: '2001:db8::7 5022 ::1 22' }, { by: user, client: 'cli:[2001:db8::7]:5022' }],
  [{ SSH_CONNECTION: 'nowhere 1 2 3' }, { by: user, client: 'cli' }],
])('the environment %j has the author %j', (env, origin) => {
  expect(atCommandLine(env)).toEqual(origin);
});

test('every command that changes something writes its author to each of its events', async () => {
  const at = await home();
  const env = { SUDO_USER: 'alice', SSH_CONNECTION: '192.0.2.7 5022 10.0.0.1 22' };
  const does = async (args: readonly string[], input = '') => {
    const ran = await at.run([...args, '--json'], { env, input });
    expect(ran.exit, `${args.join(' ')}: ${ran.stderr}`).toBe(0);
    return JSON.parse(ran.stdout) as Record<string, string>;
  };
  const key = JSON.stringify({ type: 'api_key', value: 'key-0123456789' });
  await does(['grant', 'import', 'desk', '--provider', 'github', '--no-verify'], key);
  await does(['grant', 'set', 'desk', '--max-ttl', '2d', '--expires', '1d', '--ttl', '1d']);
  await does(['agent', 'create', 'ci', '--grant', 'desk']);
  await does(['agent', 'bind', 'ci', '--remove', '--grant', 'desk']);
  await does(['agent', 'bind', 'ci', '--grant', 'desk']);
  await does(['agent', 'rotate', 'ci']);
  await does(['agent', 'set', 'ci', '--disable']);
  await does(['agent', 'set', 'ci', '--enable']);
  const lease = await does(['lease', 'create', '--agent', 'ci', '--grant', 'desk', '--purpose', 'a test']);
  await does(['lease', 'renew', lease['id'] ?? '']);
  await does(['lease', 'revoke', lease['id'] ?? '']);
  await does(['domain', 'allow', 'api.github.com', '--grant', 'desk']);
  await does(['domain', 'remove', 'api.github.com']);
  await does(['grant', 'revoke', 'desk', '--local']);
  await does(['grant', 'remove', 'desk', '--local']);
  await does(['agent', 'remove', 'ci']);
  const lines = linesOf(at);
  expect([...new Set(lines.map(({ event }) => event))]).toEqual([
    'key.created',
    'store.created',
    'grant.added',
    'grant.changed',
    'agent.added',
    'agent.unbound',
    'agent.bound',
    'agent.rotated',
    'agent.disabled',
    'agent.enabled',
    'lease.created',
    'lease.renewed',
    'lease.revoked',
    'domain.changed',
    'grant.revoked',
    'grant.removed',
    'agent.removed',
  ]);
  for (const { event, by, client } of lines) {
    expect({ event, by, client }).toEqual({ event, by: `alice (as ${user})`, client: 'cli:192.0.2.7:5022' });
  }
  const found = async (name: string) =>
    (await at.run(['audit', 'query', '--by', name, '--json'])).stdout.split('\n').length - 1;
  expect([await found('alice'), await found(user), await found('bob')]).toEqual([
    lines.length,
    lines.length,
    0,
  ]);
});

test('a proxy records who started it, its config, and the address of the first use of a token', async () => {
  const at = await home({ domains: { 'api.acme.test': 'deny' } });
  const { token } = (await at.json(['agent', 'create', 'ci', '--everything'])) as { token: string };
  const running = await at.start();
  const asks = async (password: string) => {
    const client = await openClient({ port: Number(new URL(running.url).port) });
    const basic = Buffer.from(`ci:${password}`).toString('base64');
    client.send(
      `CONNECT api.acme.test:443 HTTP/1.1\r\nHost: api.acme.test:443\r\nProxy-Authorization: Basic ${basic}\r\n\r\n`,
    );
    return (await client.response('CONNECT')).status;
  };
  expect([await asks(token), await asks(token), await asks('wrong')]).toEqual([403, 403, 407]);
  await running.stop();
  const lines = linesOf(at);
  expect(lines.find(({ event }) => event === 'proxy.started')).toMatchObject({
    by: user,
    client: 'cli',
    reason: expect.stringMatching(/^config [0-9a-f]{12}$/) as string,
  });
  expect(lines.filter(({ event }) => event === 'agent.signed_in')).toMatchObject([
    {
      agent: 'ci',
      client: expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string,
      reason: expect.stringContaining('by the token ') as string,
    },
  ]);
  expect(lines.filter(({ event }) => event === 'denied').map(({ code }) => code)).toEqual([
    'domain_not_allowed',
    'domain_not_allowed',
    'agent_auth_required',
  ]);
});
