import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { renderManPage } from '../../../tools/man-page.ts';

const file = fileURLToPath(new URL('../../../man/sidekey.1', import.meta.url));
const isThere = (program: string) => spawnSync(program, ['--version']).error === undefined;

describe('the manual page', () => {
  it('is up to date (npm run man)', async () => {
    expect(readFileSync(file, 'utf8')).toBe(await renderManPage());
  });

  // Debian: apt-get install mandoc
  it.skipIf(!isThere('mandoc'))('has no error for mandoc (skipped without mandoc)', () => {
    const { stdout, stderr } = spawnSync('mandoc', ['-Tlint', '-Wwarning', file], { encoding: 'utf8' });
    // A date would change the page with every release.
    expect((stdout + stderr).split('\n').filter((line) => !/^$|missing date/.test(line))).toEqual([]);
  });

  it.skipIf(!isThere('man'))('is shown by man (skipped without man)', () => {
    const shown = execFileSync('man', ['-l', file], {
      encoding: 'utf8',
      env: { ...process.env, MANWIDTH: '80', MAN_KEEP_FORMATTING: '' },
    });
    expect(shown).toMatch(/^SIDEKEY\(1\)/);
    expect(shown).toContain('sidekey grant import [name]');
    expect(shown).toContain('--unmatched action');
  });
});
