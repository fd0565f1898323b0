import { expect, it } from 'vitest';
import { type Domain, exactHosts, isPattern, parsePattern } from '../../../../src/proxy/policy/domain-map.ts';

function domain(text: string, kind: 'grant' | 'tunnel' | 'deny'): Domain {
  const pattern = parsePattern(text);
  if (!isPattern(pattern)) throw new Error(pattern.problem);
  const action =
    kind === 'grant' ? ({ kind, grant: 'g', allowPlainHttp: false } as const) : ({ kind } as const);
  return { pattern, action, origin: 'here' };
}

it('exact hosts are those with a grant that no wildcard covers', () => {
  const domains = [
    domain('api.test:8443', 'grant'),
    domain('*.wild.test', 'grant'),
    domain('blind.test', 'tunnel'),
    domain('never.test', 'deny'),
    domain('b.test', 'grant'),
  ];
  expect(exactHosts(domains)).toStrictEqual(['api.test', 'b.test']);
});
