import type { Config } from '../config/config.ts';
import { openExit } from '../exit-parts.ts';
import type { Exit } from '../upstream/exit.ts';

/**
 * Gives a command the way out, through the dial guard, and closes it whatever happens. No proxy listens in this process,
 * so no port is its own.
 */
export async function withExit<T>(
  config: Pick<Config, 'file' | 'upstream' | 'limits'>,
  env: NodeJS.ProcessEnv,
  use: (exit: Exit) => Promise<T>,
): Promise<T> {
  const exit = await openExit(config, { env, ownPorts: () => [] });
  try {
    return await use(exit);
  } finally {
    await exit.close();
  }
}
