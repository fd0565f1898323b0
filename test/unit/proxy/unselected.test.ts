import { expect, it } from 'vitest';
import { unselected } from '../../../src/proxy/target.ts';
import { hintText } from '../../../src/lib/hint.ts';

const hintFor = (caller: Partial<Parameters<typeof unselected>[2]>, grant: string | null) =>
  hintText(
    unselected(
      { kind: 'missing' },
      { grant: 'github', host: 'api.github.com:8443' },
      { agent: null, lease: null, selectors: { grant, user: null }, ...caller },
      () => undefined,
    ).hint,
  );

it('a grant that the request names, and the entry of its host does not, gets an entry first', () => {
  expect(hintFor({}, 'dev')).toMatch(
    /^sidekey domain allow api\.github\.com:8443 --grant dev \(or, where there is none yet: /,
  );
  expect(hintFor({ agent: 'ci' }, 'dev')).toMatch(
    /^sidekey domain allow api\.github\.com:8443 --grant dev, and sidekey agent bind ci --grant dev \(or, /,
  );
});

it('a grant of the entry that does not exist is to be connected', () => {
  expect(hintFor({}, null)).toMatch(/^sidekey connect PROVIDER --name github; /);
  expect(hintFor({ agent: 'ci' }, 'github')).toMatch(/^sidekey agent bind ci --grant github \(or, /);
});
