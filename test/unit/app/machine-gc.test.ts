import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const file = fileURLToPath(new URL('../../../src/app/machine.ts', import.meta.url));

it('tuneGarbageCollection sets flags that V8 knows', () => {
  const script = `import { tuneGarbageCollection } from ${JSON.stringify(file)}; tuneGarbageCollection();`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script]);
  expect([status, stderr.toString()]).toEqual([0, '']);
});
