import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const file = fileURLToPath(new URL('../../../src/app/gc-tuning.ts', import.meta.url));

it('the collection of young garbage is set with an option that V8 knows', () => {
  const script = `import { collectYoungGarbageSoon } from ${JSON.stringify(file)}; collectYoungGarbageSoon();`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script]);
  expect([status, stderr.toString()]).toEqual([0, '']);
});
