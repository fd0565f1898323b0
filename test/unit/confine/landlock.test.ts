import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Access } from '../../../src/confine/access.ts';
import { rightsOf } from '../../../src/confine/landlock.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test.each([
  ['scratch', true, ['write']],
  ['write', true, ['write']],
  ['read', true, []],
  // Without mounts, what is hidden would be permitted too.
  ['write', false, []],
  ['scratch', false, []],
] as const)(
  'a folder with a hidden entry has the right of its access (%s, mounted: %s)',
  async (access, mounted, rights) => {
    const folder = await tempFolder();
    await mkdir(join(folder, 'hidden'));
    const rules = new Map<string, Access>([
      ['/', 'absent'],
      [folder, access],
      [join(folder, 'hidden'), 'absent'],
    ]);
    const granted = rightsOf(rules, mounted, []).filter(([path]) => path === folder);
    expect(granted.map(([, right]) => right)).toEqual(rights);
  },
);
