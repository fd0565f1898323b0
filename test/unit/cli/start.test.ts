import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDisplay } from '../../../src/cli/display.ts';
import { describeMap } from '../../../src/cli/start.ts';
import type { Config } from '../../../src/config/config.ts';
import { type Domain, isPattern, parsePattern } from '../../../src/proxy/policy/domain-map.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import type { GrantRecord, Store } from '../../../src/store/store.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const now = 1_800_000_000_000;

const plain = createDisplay({}, {});

function config(domains: Record<string, Domain['action']>, unmatched: 'deny' | 'tunnel' = 'deny') {
  const proxy: Config['proxy'] = {
    listen: { host: '127.0.0.1', port: 1 },
    authentication: 'optional',
    localCallers: 'same_user',
    unmatchedHosts: unmatched,
    transparent: null,
    tls: null,
    balancers: [],
  };
  return {
    proxy,
    domains: Object.entries(domains).map(([text, action]): Domain => {
      const pattern = parsePattern(text);
      if (!isPattern(pattern)) throw new Error(pattern.problem);
      return { pattern, action, origin: text };
    }),
  };
}

const uses = (grant: string, allowPlainHttp = false): Domain['action'] => ({
  kind: 'grant',
  grant,
  allowPlainHttp,
});

const fresh = grantRecord({ name: 'work', expiresAt: null });

const ended = grantRecord({ name: 'old', expiresAt: now - 1, refreshable: false });

/** A store with these grants. */
async function stored(...grants: readonly GrantRecord[]): Promise<Store> {
  const store = await openSqliteStore(join(await tempFolder(), 'sidekey.db'), { now: () => now });
  onTestFinished(() => store.close());
  await store.grants.insert(...grants);
  return store;
}

describe('the domain map at the start', () => {
  it('shows the action, grant and state of each entry, and the commands for missing grants', async () => {
    const map = config({
      'api.example.com': uses('work'),
      'plain.example.com': uses('work', true),
      'old.example.com': uses('old'),
      'lost.example.com': uses('lost'),
      'lost2.example.com': uses('lost'),
      'open.example.com': { kind: 'tunnel' },
      'shut.example.com': { kind: 'deny' },
    });
    expect(await describeMap(plain, map, await stored(ended, fresh), now)).toEqual({
      lines: [
        'Domains:',
        '  api.example.com    grant work                        work, active',
        '  plain.example.com  grant work, also over plain http  work, active',
        '  old.example.com    grant old                         old, expired',
        '  lost.example.com   grant lost                        MISSING',
        '  lost2.example.com  grant lost                        MISSING',
        '  open.example.com   tunnel (blind, no credential)',
        '  shut.example.com   refused',
        '',
        'Unlisted hosts are refused (proxy.unmatched: deny).',
      ],
      missing: [
        'sidekey grant import old --provider github --replace < token.json',
        'sidekey connect PROVIDER --name lost',
      ],
    });
  });

  it('shows the first command when it is empty', async () => {
    expect(await describeMap(plain, config({}), await stored(), now)).toEqual({
      lines: ['The domain map is empty.', 'Unlisted hosts are refused (proxy.unmatched: deny).'],
      missing: ['sidekey connect github --token'],
    });
    expect(await describeMap(plain, config({}, 'tunnel'), await stored(fresh), now)).toEqual({
      lines: [
        'The domain map is empty.',
        'Unlisted hosts are tunnelled, without a credential (proxy.unmatched: tunnel).',
      ],
      missing: ['sidekey domain allow api.github.com --grant work'],
    });
  });

  it('shows 100 entries and five grants of each, and reads no others', async () => {
    const many = Array.from({ length: 120 }, (_, n) => [`api${n}.example.com`, uses('work')] as const);
    const users = Array.from({ length: 9 }, (_, n) => grantRecord({ name: 'work', user: `u${n}` }));
    const { grants, grantChecks } = await stored(...users);
    const limits: number[] = [];
    const offered = (reference: string, limit: number) => {
      limits.push(limit);
      return grantChecks.offered(reference, limit);
    };
    const map = config(Object.fromEntries(many));
    const { lines } = await describeMap(plain, map, { grants, grantChecks: { offered } }, now);
    expect(limits).toEqual([6]);
    expect(lines).toHaveLength(104);
    expect(lines[1]).toMatch(/work \(user u4\), active; …$/);
    expect(lines[101]).toBe('  … and 20 more: sidekey domain list');
  });
});
