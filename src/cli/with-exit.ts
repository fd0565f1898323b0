import type { Config } from '../config/config.ts';
import { createExit, type Exit } from '../upstream/exit.ts';

/**
 * Gives a command the way out, through the dial guard, and closes it whatever happens. No proxy listens in this process,
 * so no port is its own.
 */
export async function withExit<T>(
  { upstream, limits }: Pick<Config, 'upstream' | 'limits'>,
  use: (exit: Exit) => Promise<T>,
): Promise<T> {
  const exit = createExit({ ...upstream, limits, ownPorts: () => [] });
  try {
    return await use(exit);
  } finally {
    await exit.close();
  }
}
