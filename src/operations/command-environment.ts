import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withoutNpx } from '../clients/npx.ts';
import { writeTrustFiles } from '../clients/trust-files.ts';
import type { Config } from '../config/config.ts';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { isExecutable, shippedFile } from '../lib/package-files.ts';
import { programVariables } from './environment.ts';
import { offeredFirst } from './lookup.ts';
import { leaseHolder, mintFor } from '../proxy/placeholders/codes.ts';
import type { HeldLease } from './held-lease.ts';

/** Proxy that a command uses. */
export interface CommandProxy {
  /** Address for the command; the URL contains its token. */
  readonly proxy: { readonly url: string; readonly host: string; readonly port: number };
  /** PEM of the CA that the command trusts. */
  readonly authorityPem: string;
  /** Returns the config in force. */
  readonly config: () => Config;
  /** Lease of the command; null: the URL contains a token. */
  readonly lease: HeldLease | null;
}

/**
 * Returns the parent's environment with the proxy variables, without credentials and additions of npx.
 *
 * @param keep names of variables that are always kept
 * @param trustFiles folder for the trust files; null: a new one
 * @throws SidekeyError `file_unwritable`
 */
export async function commandEnvironment(
  inherited: NodeJS.ProcessEnv,
  { proxy, authorityPem, config, lease }: CommandProxy,
  keep: readonly string[],
  trustFiles: string | null,
) {
  const parent = withoutNpx(inherited);
  const folder = trustFiles ?? (await privateFolder());
  try {
    const written = await writeTrustFiles(folder, { authorityPem, parent, domains: config().domains });
    // A program that outlives the command starts without its folder, but not without a file of NODE_OPTIONS.
    const isLasting = trustFiles === null && !isExecutable;
    const trust = isLasting ? { ...written, nodeFile: shippedFile('node-proxy.cjs') } : written;
    const grants = lease === null ? null : offeredFirst(config().domains, lease.grants);
    const mint =
      lease === null ? undefined : mintFor(leaseHolder(lease.id), grants ?? [], lease.placeholders);
    const facts = { parent, config: config(), proxy, trust, grants, mint, keep };
    const { variables, credentials, notes } = programVariables(facts);
    const env: NodeJS.ProcessEnv = { ...parent, ...variables, ...credentials.set };
    for (const name of credentials.remove) delete env[name];
    return {
      env,
      /** Sentences about the environment, for a person. */
      notes,
      /** Line about removed credentials, printed before the command starts; null: none. */
      taken: credentials.note,
      /** Removes the trust files. */
      close: () => remove(folder),
    };
  } catch (error) {
    await remove(folder);
    throw error;
  }
}

/** Creates a folder for one command. Its bundle depends on the parent's environment. */
async function privateFolder(): Promise<string> {
  try {
    const folder = await mkdtemp(join(tmpdir(), 'sidekey-run-'));
    // If root calls apt, its methods run as _apt. All files in the folder are public.
    if (process.getuid?.() === 0) await chmod(folder, 0o711);
    return folder;
  } catch (cause) {
    throw new SidekeyError(
      'file_unwritable',
      `The trust files of the command cannot be written: ${tmpdir()} cannot be written (${systemCode(cause)}).`,
      { hint: 'set TMPDIR to a folder of yours', cause },
    );
  }
}

async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
}
