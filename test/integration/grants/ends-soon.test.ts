import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { home } from '../../support/command-line.ts';

const day = 86_400_000;
const start = Date.parse('2027-01-01T00:00:00Z');

/** A token that was stored 50 days before its end, and one with a refresh token. */
async function setUp() {
  const at = await home({
    domains: { 'api.acme.test': { grant: 'acme' } },
    providers: {
      acme: {
        authorization_endpoint: 'https://acme.test/authorize',
        token_endpoint: 'https://acme.test/token',
        client_id: 'x',
        audience: ['api.acme.test'],
      },
    },
  });
  const end = new Date(start + 50 * day).toISOString();
  const tokens = { type: 'oauth2', access_token: 'token-1', expires_at: end };
  await at.grant('acme', tokens, ['--provider', 'acme']);
  await at.grant('other', { ...tokens, refresh_token: 'refresh-1' }, ['--provider', 'acme']);
  return at;
}

const sentence = 'The token of acme ends in 7 d, and nothing renews it.';
const hint = 'sidekey connect acme';

describe('a token that cannot be refreshed and ends soon', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: start }));
  afterEach(() => void vi.useRealTimers());

  test('is flagged by status, grant list and grant show from 7 days before its end', async () => {
    const at = await setUp();
    const needs = async () => {
      const { needs: all, grants } = (await at.json(['status'])) as {
        needs: { about: string; sentence: string; hint: string }[];
        grants: object;
      };
      return { needs: all.filter(({ about }) => about === 'grants'), grants };
    };
    vi.setSystemTime(start + 43 * day - 1);
    expect(await needs()).toEqual({ needs: [], grants: { ok: true, text: '2 active', active: 2 } });
    expect((await at.run(['grant', 'list'])).stdout).not.toContain('→');
    expect(await at.json(['grant', 'list'])).toMatchObject([{ ends_soon: false }, { ends_soon: false }]);
    vi.setSystemTime(start + 43 * day);
    expect(await needs()).toMatchObject({
      needs: [{ about: 'grants', sentence, hint }],
      grants: { ok: false, active: 2 },
    });
    expect((await at.run(['grant', 'list'])).stdout).toContain(`\n${sentence}\n  → ${hint}\n`);
    expect(await at.json(['grant', 'list'])).toMatchObject([
      { name: 'acme', ends_soon: true },
      { name: 'other', ends_soon: false },
    ]);
    expect(await at.run(['grant', 'show', 'acme'])).toMatchObject({ stderr: `${sentence}\n  → ${hint}\n` });
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({ ends_soon: true });
    expect((await at.run(['grant', 'show', 'other'])).stderr).not.toContain('ends');
  });

  test('is reported as expired after its end', async () => {
    const at = await setUp();
    vi.setSystemTime(start + 50 * day);
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({ state: 'expired', ends_soon: false });
    expect((await at.run(['status'])).stdout).toContain('acme has expired, and there is no refresh token.');
  });
});
