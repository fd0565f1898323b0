import { expect, test } from 'vitest';
import { parentNotes } from '../../../src/clients/trust-files.ts';
import { type Domain, type DomainPattern, parsePattern } from '../../../src/proxy/policy/domain-map.ts';

const domain = (text: string, kind: 'grant' | 'tunnel' = 'grant'): Domain => ({
  pattern: parsePattern(text) as DomainPattern,
  action: kind === 'grant' ? { kind, grant: 'work', allowPlainHttp: false } : { kind },
  origin: '',
});
const facts = {
  proxy: { host: '127.0.0.1', port: 8377 },
  domains: [domain('api.github.com')],
  chained: false,
};

test('a parent proxy is named without its password, with the setting that configures it', () => {
  const [note = '', ...more] = parentNotes({
    ...facts,
    parent: { HTTPS_PROXY: 'http://user:hunter2@proxy.corp.example:3128' },
  });
  expect(note).toContain('HTTPS_PROXY names proxy.corp.example:3128');
  expect(note).toContain('upstream.proxy');
  expect(note).not.toMatch(/hunter2|user/);
  expect(more).toEqual([]);
});

test('a parent proxy without a scheme is named too, and an invalid one is not repeated', () => {
  expect(parentNotes({ ...facts, parent: { https_proxy: 'corp.example:3128' } })[0]).toContain(
    'https_proxy names corp.example:3128',
  );
  expect(parentNotes({ ...facts, parent: { ALL_PROXY: 'http://u:hunter2@[x' } })[0]).toMatch(
    /^ALL_PROXY names a proxy; /,
  );
});

test.each([
  ['the parent proxy is Sidekey itself', { parent: { HTTPS_PROXY: 'http://a:b@127.0.0.1:8377' } }],
  [
    'upstream.proxy names the parent proxy',
    { parent: { HTTPS_PROXY: 'http://corp.example:3128' }, chained: true },
  ],
  ['there is no parent proxy', { parent: { HTTPS_PROXY: '' } }],
])('no note is made when %s', (_why, some) => {
  expect(parentNotes({ ...facts, ...some })).toEqual([]);
});

test('only hosts of the map that NO_PROXY sends past Sidekey are named', () => {
  const domains = [
    domain('api.github.com'),
    domain('*.corp.example'),
    domain('b.corp.example', 'tunnel'),
    domain('x.example'),
  ];
  expect(parentNotes({ ...facts, domains, parent: { no_proxy: 'github.com,.corp.example' } })).toEqual([
    'NO_PROXY sends programs past Sidekey to api.github.com, *.corp.example: they get no credential there.',
  ]);
});
