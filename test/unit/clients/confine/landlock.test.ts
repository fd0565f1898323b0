import { expect, test } from 'vitest';
import type { Access } from '../../../../src/clients/confine/access.ts';
import { rightsOf } from '../../../../src/clients/confine/landlock.ts';

test.each([
  ['scratch', true, ['write']],
  ['write', true, ['write']],
  ['read', true, []],
  // Without mounts, what is hidden would be permitted too.
  ['write', false, []],
  ['scratch', false, []],
] as const)(
  'a folder with a hidden entry has the right of its access (%s, mounted: %s)',
  (access, mounted, rights) => {
    const rules = new Map<string, Access>([
      ['/', 'absent'],
      ['/usr', access],
      ['/usr/lib', 'absent'],
    ]);
    const granted = rightsOf(rules, mounted, []).filter(([path]) => path === '/usr');
    expect(granted.map(([, right]) => right)).toEqual(rights);
  },
);
