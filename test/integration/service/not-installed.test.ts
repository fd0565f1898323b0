import { expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

test.skipIf(process.platform !== 'linux' && process.platform !== 'darwin').each(['status', 'logs'])(
  'service %s says that the service is not installed',
  async (command) => {
    const at = await home();
    expect(await at.run(['service', command], { env: { HOME: at.folder } })).toMatchObject({
      exit: 1,
      stdout: 'The service is not installed.\n  → sidekey service install\n',
    });
  },
);
