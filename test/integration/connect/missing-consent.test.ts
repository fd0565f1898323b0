import { expect, test } from 'vitest';
import { howToPropose } from '../../../src/proxy/policy/decide.ts';
import { acmeHome } from '../../support/connect-home.ts';

interface Envelope {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

test('a missing scope is reported with the command that requests it in addition to the present scopes', async () => {
  const at = await acmeHome({ helpdesk: {} });
  const consent = async (args: readonly string[]) => {
    const command = at.begin([...args, '--paste', '--port', '0']);
    const url = await command.consentUrl();
    command.stdin.write(`${(await at.consent(url)).href}\n`);
    const ran = await command.done;
    expect(ran.exit, ran.stderr).toBe(0);
    return new URL(url).searchParams.get('scope')?.split(' ').toSorted();
  };
  const write = async () =>
    (await at.json([
      'fetch',
      `https://${at.authority}/tickets`,
      '-d',
      '{"title":"A printer that smokes","team":"it"}',
    ])) as Envelope;
  const shown = () => at.json(['grant', 'show', 'acme']);

  expect(await consent(['connect', 'acme'])).toEqual(['openid', 'read:tickets']);
  expect(await shown()).toMatchObject({ lacked_scopes: null });
  const refused = await write();
  expect(refused.status).toBe(403);
  const hint = 'sidekey connect acme --scope write:tickets';
  expect(refused.headers['sidekey-hint']).toBe(`${hint}; ${howToPropose}`);

  expect(await shown()).toMatchObject({
    state: 'active',
    lacked_scopes: { scopes: ['write:tickets'], command: hint, at: expect.stringMatching(/Z$/) },
  });
  const told = await at.run(['grant', 'show', 'acme']);
  expect(told.stdout).toMatch(/missing scopes +write:tickets \((?:\d+ s ago|now)\)/);
  expect(told.stderr).toContain(`→ ${hint}`);
  expect((await at.run(['status'])).stdout).toMatch(
    /✓ grants +1 active; asked for more scopes \(grant show NAME\): acme/,
  );
  const audited = await at.run(['audit', 'query', '--json', '--code', 'insufficient_scope']);
  expect(JSON.parse(audited.stdout)).toMatchObject({
    event: 'outcome',
    status: 403,
    reason: 'the grant lacks: write:tickets',
  });

  expect(await consent(hint.split(' ').slice(1))).toEqual(['openid', 'read:tickets', 'write:tickets']);
  expect(await write()).toMatchObject({ status: 201 });
  expect(await shown()).toMatchObject({ lacked_scopes: null });
  expect((await at.run(['status'])).stdout).toMatch(/✓ grants +1 active\n/);
});
