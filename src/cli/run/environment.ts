import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { offeredFirst } from '../pick.ts';
import type { Way } from './own-proxy.ts';
import { withheld } from '../../clients/environment.ts';
import { parentNotes, writeTrustFiles } from '../../clients/trust-files.ts';
import { withoutProxy } from '../../clients/variable-table.ts';
import { clientVariables } from '../../clients/variables.ts';
import { credentialVariables } from '../../config/environment-index.ts';
import { environmentReferences } from '../../config/load.ts';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { leaseHolder, mintFor } from '../../placeholders/codes.ts';

/** What a command is given. */
interface CommandEnvironment {
  readonly env: NodeJS.ProcessEnv;
  /** What a person should know of it. Sentences. */
  readonly notes: readonly string[];
  /** Takes the files away that it names. */
  close(): Promise<void>;
}

/**
 * The parent's environment with what leads to the proxy, and without credentials.
 *
 * @param keep names of variables that stay whatever they are
 * @throws SidekeyError `file_unwritable`
 */
export async function commandEnvironment(
  parent: NodeJS.ProcessEnv,
  { proxy, authorityPem, config, lease }: Way,
  keep: readonly string[],
): Promise<CommandEnvironment> {
  const folder = await privateFolder();
  try {
    const { domains, providers, upstream } = config();
    const trust = await writeTrustFiles(folder, { authorityPem, parent });
    const variables = clientVariables({ parent, proxy, trust, noProxy: withoutProxy(domains, proxy) });
    const grants = offeredFirst(domains, lease?.grants ?? []);
    const reachable = new Set(grants.map(({ provider }) => provider));
    const taken = withheld({
      parent,
      providers: credentialVariables(providers),
      reachable,
      references: environmentReferences(config()),
      keep,
      mint: lease === null ? undefined : mintFor(leaseHolder(lease.id), grants, lease.placeholders),
    });
    const env: NodeJS.ProcessEnv = { ...parent, ...variables, ...taken.set };
    for (const name of taken.remove) delete env[name];
    return {
      env,
      notes: [
        ...trust.notes,
        ...parentNotes({ parent, proxy, domains, chained: upstream.proxy !== null }),
        ...taken.notes,
      ],
      close: () => remove(folder),
    };
  } catch (error) {
    await remove(folder);
    throw error;
  }
}

/** One for each command: what its trust is made of is the parent's, and may be another next time. */
async function privateFolder(): Promise<string> {
  try {
    const folder = await mkdtemp(join(tmpdir(), 'sidekey-run-'));
    // For the methods of apt, which run as _apt where root calls it. Everything in the folder is public.
    if (process.getuid?.() === 0) await chmod(folder, 0o711);
    return folder;
  } catch (cause) {
    throw new SidekeyError(
      'file_unwritable',
      `There is no place for the trust files of the command: ${tmpdir()} cannot be written (${systemCode(cause)}).`,
      { hint: 'set TMPDIR to a folder of yours', cause },
    );
  }
}

async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
}
