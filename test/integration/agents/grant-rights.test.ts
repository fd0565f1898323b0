/** Settings of a grant and the agents that reach it, in `grant show` and `grant list`. */
import { describe, expect, test } from 'vitest';
import { home, type Home, leaseCreate } from '../../support/command-line.ts';

const key = { api_key: 'key-secret-0123456789' };

async function withRights(config: object = {}): Promise<Home> {
  const at = await home(config);
  await at.grant('work', key);
  await at.grant('other', key);
  await at.run([
    'grant',
    'set',
    'work',
    '--expires',
    '2d',
    '--ttl',
    '7d',
    '--max-lease-ttl',
    '1h',
    '--label',
    'prod',
  ]);
  await at.run(['agent', 'create', 'ci', '--label', 'prod']);
  await at.run(['agent', 'create', 'old', '--grant', 'work']);
  await at.run(['agent', 'create', 'elsewhere', '--grant', 'other']);
  return at;
}

const lease = async (at: Home, agent: string) =>
  ((await at.json(leaseCreate(agent, ['work']))) as { id: string }).id;

describe('a grant', () => {
  test('is shown with its policy, its agents and its valid leases', async () => {
    const at = await withRights({ proxy: { listen: '127.0.0.1:0', local_callers: 'any' } });
    const [ofCi, ofOld, gone] = [await lease(at, 'ci'), await lease(at, 'old'), await lease(at, 'ci')];
    await at.run(['lease', 'revoke', gone]);
    await at.run(['agent', 'set', 'old', '--disable']);
    const { stdout, stderr } = await at.run(['grant', 'show', 'work']);
    expect(stdout).toMatch(/reached by +ci, old \(disabled\), callers on this machine without a token\n/);
    expect(stdout).toMatch(
      new RegExp(String.raw`active leases +${ofCi.slice(0, 8)} of ci, ends in 15 min\n`),
    );
    expect(stdout).toMatch(/expires +in (?:2 d|48 h) \(\d{4}-/);
    expect(stdout).toMatch(/default ttl +7d\n/);
    expect(stdout).toMatch(/maximum lease ttl +1h\n/);
    expect(stdout).toMatch(/labels +prod\n/);
    expect(stderr).not.toContain('grant set');
    expect(await at.json(['grant', 'show', 'work'])).toMatchObject({
      settings: {
        default_ttl: 604_800,
        max_ttl: null,
        default_lease_ttl: null,
        max_lease_ttl: 3_600,
        labels: ['prod'],
      },
      reached_by: {
        agents: [
          { name: 'ci', state: 'enabled' },
          { name: 'old', state: 'disabled' },
        ],
        active_leases: [{ id: ofCi, agent: 'ci' }],
      },
    });
    expect(stdout).not.toContain(ofOld.slice(0, 8));
    expect((await at.run(['grant', 'show', 'other'])).stdout).not.toMatch(/^expires/m);
  });

  test('that only agents may use is marked in the list', async () => {
    const at = await withRights({ proxy: { listen: '127.0.0.1:0', authentication: 'required' } });
    expect((await at.run(['grant', 'show', 'other'])).stdout).toMatch(/reached by +elsewhere\n/);
    await at.run(['agent', 'remove', 'elsewhere']);
    expect((await at.run(['grant', 'show', 'other'])).stdout).toMatch(/reached by +no agent\n/);
  });

  test('that expires soon is marked in the list, with the command that changes its expiry', async () => {
    const at = await withRights();
    const { stdout } = await at.run(['grant', 'list']);
    expect(stdout).toMatch(
      /^NAME .+ EXPIRES\nother .+ no end\nwork .+ in (?:2 d|48 h)\nwork expires in (?:2 d|48 h)\.\n {2}→ sidekey grant set work --ttl 7d\n$/,
    );
    expect(await at.json(['grant', 'list'])).toMatchObject([
      { name: 'other', grant_expires_at: null },
      { name: 'work', grant_expires_at: expect.stringMatching(/Z$/) as string },
    ]);
    await at.run(['grant', 'set', 'work', '--ttl', '2s']);
    // A lifetime of seconds is not proposed again.
    expect((await at.run(['grant', 'list'])).stdout).toMatch(/→ sidekey grant set work --ttl 30d\n$/);
    await at.run(['grant', 'set', 'work', '--expires', '30d']);
    expect((await at.run(['grant', 'list'])).stderr).toBe('');
  });
});
