import { hash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { trustVariables } from '../../clients/parent-trust.ts';

/**
 * Where the trust files of `env` lie: beside the CA, for programs read them long after the command has ended. Shells that
 * trust something of their own have a folder of their own, so that none takes away what another has in its bundle. In
 * a shell where the variables are set already it is the folder that they name.
 *
 * @param directory of the CA; absolute
 */
export function trustFolder(directory: string, parent: NodeJS.ProcessEnv): string {
  const base = join(directory, 'clients');
  const files = trustVariables.map((name) => parent[name] ?? '').filter((file) => file !== '');
  const ours = files.find((file) => dirname(dirname(file)) === base);
  if (ours !== undefined) return dirname(ours);
  const key = [...new Set(files)].toSorted().join('\0');
  return join(base, key === '' ? 'default' : hash('sha256', key).slice(0, 12));
}
