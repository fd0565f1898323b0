import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { backUp } from '../app/backup.ts';
import { recordRestore, restore as restoreStore, type Restored } from '../app/restore.ts';
import { openTables } from '../app/state.ts';
import { readSecret, referenceOption } from '../config/secret-reference.ts';
import { inputInvalid, SidekeyError, systemCode } from '../lib/errors.ts';
import { packageVersion } from '../lib/package-files.ts';
import type { RowCounts } from '../store/backup.ts';
import type { AgeKey, AgeLock } from '../store/vault/age.ts';
import type { Context } from './context.ts';
import { counted, isoTime } from '../operations/format.ts';
import type { Output } from './output.ts';
import { refuseExisting } from './output-file.ts';

interface BackupCommandOptions {
  readonly recipient?: readonly string[];
  readonly passphrase?: string;
  readonly force?: true;
}

/** `sidekey backup FILE`. */
export async function backup(context: Context, path: string, options: BackupCommandOptions): Promise<void> {
  const { output, withState, env, now } = context;
  const file = resolve(path);
  const force = options.force === true;
  await refuseExisting(file, force);
  const lock = await lockOf(context, options);
  await withState(async (state) => {
    const tables = await openTables(state.config, env);
    try {
      const parts = { file, lock, force, version: packageVersion(), now };
      const made = await duringRows(output, 'Backing the store up', (onRows) =>
        backUp(state, tables, { ...parts, onRows }),
      );
      const { bytes, counts, digest, keyId, hasAuthority } = made;
      const sealed = 'passphrase' in lock ? 'a passphrase' : lock.recipients.join(', ');
      output.result(
        { file, bytes, rows: counts, sha256: digest, key_id: keyId, ca: hasAuthority },
        [
          `Backed up ${tables.location} to ${file} (${bytes} bytes), sealed for ${sealed}.`,
          `It holds ${contents(counts)}, the master key ${keyId}${hasAuthority ? ' and the CA' : ''}.`,
          `Read again and compared: SHA-256 of the content ${digest}.`,
          'Not in it: the config file, the audit log, and sign-ins of people.',
        ].join('\n'),
      );
    } finally {
      await tables.close();
    }
  });
}

/** Shows a step with the number of rows so far. */
function duringRows<T>(
  output: Pick<Output, 'during'>,
  step: string,
  work: (onRows: (count: number) => void) => Promise<T>,
): Promise<T> {
  let rows = 0;
  return output.during(
    () => `${step}: ${counted(rows, 'row')}`,
    () => work((count) => (rows = count)),
  );
}

interface RestoreCommandOptions {
  readonly identity?: string;
  readonly passphrase?: string;
  readonly replace?: true;
  readonly rollBack?: true;
}

/** `sidekey restore FILE`. */
export async function restore(context: Context, path: string, options: RestoreCommandOptions): Promise<void> {
  const { output, withState, config: readConfig, env, now } = context;
  const file = resolve(path);
  const found = await stat(file).catch(() => null);
  if (found?.isFile() !== true) {
    throw new SidekeyError('not_found', `There is no backup at ${file}.`, {
      hint: 'name the file of a backup',
    });
  }
  const key = await keyOf(context, options);
  const config = await readConfig();
  const rollBack = options.rollBack === true;
  const parts = { file, key, replace: options.replace === true || rollBack, rollBack, env, now };
  const restored = await duringRows(output, 'Restoring the store', (onRows) =>
    restoreStore(config, { ...parts, onRows }),
  );
  const { location, made, counts, isNew, retiredKey, ...grants } = restored;
  let rotated: Awaited<ReturnType<typeof recordRestore>> = null;
  try {
    rotated = await withState((state) => recordRestore(state, restored, parts));
  } finally {
    // Printed even after a failure, because the store is restored.
    const json = { store: location, made: isoTime(made), new: isNew, rows: counts, ...grants };
    const lines = report(restored);
    if (rotated?.finished === true)
      lines.push(`The master key was rotated from ${rotated.from} to ${rotated.to}.`);
    else if (rotated !== null)
      lines.push(
        `The rotation of the master key ${rotated.from} to ${rotated.to} is not finished: sidekey key status`,
      );
    output.result({ ...json, retired_key: retiredKey, rotated }, lines.join('\n'));
  }
}

function report(restored: Restored): string[] {
  const { location, made, counts, isNew, written, newer, check, consent, rejoin, retiredKey } = restored;
  const brought =
    written.length === 0 ? 'no grant' : `${counted(written.length, 'grant')} (${names(written)})`;
  const what = isNew ? contents(counts) : brought;
  const lines = [`Restored ${what} to ${location}, as of ${isoTime(made)}.`];
  if (newer.length > 0) lines.push(`Changed or renamed since, and left as they are: ${names(newer)}.`);
  if (consent.length > 0) {
    lines.push(
      `These grants need a new consent: ${names(consent)}.`,
      '  → sidekey connect PROVIDER --name NAME',
    );
  }
  if (check.length > 0) {
    lines.push(
      `These grants have a refresh token that may have been used since: ${names(check)}.`,
      '  → sidekey grant refresh NAME; if that fails, connect the grant again',
    );
  }
  if (rejoin.length > 0) {
    lines.push(
      `These nodes have no master key until they join again: ${names(rejoin)}.`,
      '  → sidekey node enroll NAME',
    );
  }
  if (isNew) {
    lines.push(
      'Whatever was revoked after the backup is valid again: look through "sidekey agent list", "sidekey lease list", "sidekey api-key list", "sidekey person list" and "sidekey approve --list".',
    );
  }
  if (retiredKey !== null) {
    lines.push(
      `The backup has the master key ${retiredKey}, which is retired: whoever holds it can make such a file.`,
      '  → sidekey grant list: look through the grants, if the key has leaked',
    );
  }
  return lines;
}

const maxNames = 20;

function names(titles: readonly string[]): string {
  const more = titles.length - maxNames;
  return titles.slice(0, maxNames).join(', ') + (more > 0 ? ` and ${more} more (--json names all)` : '');
}

function contents(counts: RowCounts): string {
  const rows = (table: string) => counts[table] ?? 0;
  return [
    counted(rows('grants'), 'grant'),
    counted(rows('agents'), 'agent'),
    counted(rows('leases'), 'lease'),
    counted(rows('apiKeys'), 'API key'),
  ].join(', ');
}

async function lockOf(context: Context, { recipient, passphrase }: BackupCommandOptions): Promise<AgeLock> {
  if (recipient === undefined) return { passphrase: await passphraseOf(context, passphrase, true) };
  if (passphrase === undefined) return { recipients: recipient };
  throw inputInvalid('A backup has a passphrase or recipients, not both.', 'leave one of the options out');
}

async function keyOf(context: Context, { identity, passphrase }: RestoreCommandOptions): Promise<AgeKey> {
  if (identity === undefined) return { passphrase: await passphraseOf(context, passphrase, false) };
  if (passphrase !== undefined)
    throw inputInvalid('A backup opens with a passphrase or an identity.', 'leave one of the options out');
  const text = await readFile(identity, 'utf8').catch((cause: unknown) => {
    throw new SidekeyError(
      'not_found',
      `The identity file ${identity} cannot be read (${systemCode(cause)}).`,
      { hint: 'name the file that age-keygen wrote', cause },
    );
  });
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  return { identities: lines.filter((line) => line !== '' && !line.startsWith('#')) };
}

async function passphraseOf(context: Context, text: string | undefined, isNew: boolean): Promise<string> {
  const { ask, env } = context;
  if (text !== undefined) {
    const place = { env, cwd: process.cwd(), where: '--passphrase' };
    return readSecret(referenceOption('--passphrase', text), place);
  }
  if (ask === null) {
    const sentence = 'The passphrase of the backup cannot be asked for: there is no terminal.';
    throw new SidekeyError('secret_missing', sentence, {
      hint: `name its place (--passphrase env:NAME, file:PATH or command:…), or ${isNew ? '--recipient age1…' : '--identity FILE'}`,
    });
  }
  const typed = await ask('Passphrase of the backup', { secret: true });
  if (!isNew || (await ask('The same again', { secret: true })) === typed) return typed;
  throw inputInvalid('The two passphrases differ.', 'run the command again');
}
