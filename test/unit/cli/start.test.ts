import { describe, expect, it } from 'vitest';
import { createDisplay } from '../../../src/cli/display.ts';
import { describeMap } from '../../../src/cli/start.ts';
import type { Config } from '../../../src/config/config.ts';
import { type Domain, isPattern, parsePattern } from '../../../src/proxy/policy/domain-map.ts';
import { grantRecord } from '../../support/grant-record.ts';

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

describe('the domain map at the start', () => {
  it('shows the action, grant and state of each entry, and the commands for missing grants', () => {
    const map = config({
      'api.example.com': uses('work'),
      'plain.example.com': uses('work', true),
      'old.example.com': uses('old'),
      'lost.example.com': uses('lost'),
      'lost2.example.com': uses('lost'),
      'open.example.com': { kind: 'tunnel' },
      'shut.example.com': { kind: 'deny' },
    });
    expect(describeMap(plain, map, [ended, fresh], now)).toEqual({
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

  it('shows the first command when it is empty', () => {
    expect(describeMap(plain, config({}), [], now)).toEqual({
      lines: ['The domain map is empty.', 'Unlisted hosts are refused (proxy.unmatched: deny).'],
      missing: ['sidekey connect github --token'],
    });
    expect(describeMap(plain, config({}, 'tunnel'), [fresh], now)).toEqual({
      lines: [
        'The domain map is empty.',
        'Unlisted hosts are tunnelled, without a credential (proxy.unmatched: tunnel).',
      ],
      missing: ['sidekey domain allow api.github.com --grant work'],
    });
  });
});
