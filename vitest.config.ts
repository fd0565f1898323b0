import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Most of them wait for something most of the time.
    maxWorkers: '100%',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Hints name the program as it is typed: the same whether the tests are run by `npm test` or by `npx vitest`.
    env: { npm_command: '' },
  },
});
