import { join } from 'node:path';
import { configDefaults, defineConfig } from 'vitest/config';
import { posixOnly } from './test/windows/posix-only.ts';

const builtProgram = join(import.meta.dirname, 'test/support/built-program.ts');
const isWindows = process.platform === 'win32';

export default defineConfig({
  // The package itself, as the examples import it.
  resolve: { alias: { '@sidekey/client/node': join(import.meta.dirname, 'src/sdk/client/node.ts') } },
  test: {
    pool: 'forks',
    // Files share a worker and its modules: to load them anew for each file costs a quarter of the time.
    isolate: false,
    globalSetup: join(import.meta.dirname, 'test/support/generated-files.ts'),
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // The default of one second is too short on a busy machine.
    expect: { poll: { timeout: 20_000 } },
    exclude: [...configDefaults.exclude, ...(isWindows ? posixOnly : [])],
    // Hints name the program as it is typed: the same whether the tests are run by `npm test` or by `npx vitest`.
    env: { npm_command: '' },
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['test/{unit,property,conformance}/**/*.test.ts'],
          maxWorkers: '100%',
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          globalSetup: builtProgram,
          include: [
            'test/{integration,security,clients,browser}/**/*.test.ts',
            ...(isWindows ? ['test/windows/*.test.ts'] : []),
          ],
          // More workers than cores took as long: 1,137 s with three, 1,121 s with two.
          maxWorkers: '100%',
        },
      },
      // `npm run scale` makes the network, of which each test needs the addresses for itself.
      ...(process.env['SIDEKEY_SCALE'] === undefined
        ? []
        : [
            {
              extends: true as const,
              test: {
                name: 'scale',
                globalSetup: builtProgram,
                include: ['test/scale/**/*.test.ts'],
                maxWorkers: 1,
                sequence: { groupOrder: 1 },
              },
            },
          ]),
    ],
  },
});
