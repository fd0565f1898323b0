import { X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { authorityFiles } from '../ca/authority-files.ts';
import type { CertificateAuthority } from '../ca/authority.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { exitCode } from '../lib/failures.ts';
import { shellWord } from '../lib/text.ts';
import { openCa, openExistingCa } from '../ca/existing-authority.ts';
import { findStores, isWritable, runCalls, storeKinds, type TrustStore } from './ca-stores.ts';
import type { Context } from './context.ts';
import { confirm } from './terminal.ts';

export interface StoreOptions {
  readonly store?: readonly string[];
  readonly yes?: boolean;
}

/** `sidekey ca install` */
export function installCa(context: Context, options: StoreOptions): Promise<number> {
  return changeStores(context, options, 'install');
}

/** `sidekey ca uninstall` */
export function uninstallCa(context: Context, options: StoreOptions): Promise<number> {
  return changeStores(context, options, 'uninstall');
}

type Change = 'install' | 'uninstall';

/** Result for one store. `unchanged`: it already has, or lacks, the certificate. */
type Outcome = 'changed' | 'unchanged' | 'needs_root' | 'failed';

async function changeStores(context: Context, options: StoreOptions, change: Change): Promise<number> {
  const { withView, output, env, now } = context;
  const kinds = readKinds(options.store ?? storeKinds);
  const { authority, keyFile } = await withView(async (view) => ({
    authority: change === 'install' ? await openCa(view, now) : await openExistingCa(view, now),
    keyFile: authorityFiles(view.config.ca.directory).key,
  }));
  if (authority === null) {
    output.result({ stores: [] }, 'There is no CA yet. Nothing was changed.');
    return exitCode.ok;
  }
  const found = await findStores({ platform: process.platform, env }, installable(authority));
  const stores = found.filter(({ kind }) => kinds.has(kind));
  if (stores.length === 0) {
    throw new SidekeyError('not_found', `No trust store of this kind was found: ${[...kinds].join(', ')}.`, {
      hint: 'on Debian: apt install ca-certificates libnss3-tools; for Java, set JAVA_HOME',
    });
  }
  const plans = await Promise.all(stores.map((store) => planFor(store, change)));
  const due = stores.filter((_, index) => plans[index] === 'changed');
  if (due.length > 0) {
    const verb = change === 'install' ? 'Adds' : 'Removes';
    output.say(`${verb} ${authority.name} ${change === 'install' ? 'to' : 'from'}:`);
    output.say(due.map(({ title }) => `  ${title}`).join('\n'));
    if (change === 'install') output.say(await risk(authority, keyFile));
    if (options.yes !== true && !(await isWanted(context, change))) {
      output.say('Nothing was changed.');
      return exitCode.failure;
    }
  }
  const results: Result[] = [];
  for (const [index, store] of stores.entries()) {
    const { kind, title } = store;
    const outcome = plans[index] === 'changed' ? await apply(store, change, env) : plans[index]!;
    results.push({ kind, title, outcome, command: commandFor(store[change], outcome) });
  }
  output.result({ stores: results }, results.map((result) => sentence(result, change)).join('\n'));
  const isDone = results.every(({ outcome }) => outcome === 'changed' || outcome === 'unchanged');
  return isDone ? exitCode.ok : exitCode.failure;
}

/** @throws SidekeyError `input_invalid` */
function readKinds(names: readonly string[]): ReadonlySet<string> {
  const unknown = names.find((name) => !storeKinds.some((kind) => kind === name));
  if (unknown === undefined) return new Set(names);
  throw inputInvalid(`Unknown store "${unknown}".`, `one of ${storeKinds.join(', ')}`);
}

function installable({ certificateFile, certificatePem, fingerprint }: CertificateAuthority) {
  const sha1 = new X509Certificate(certificatePem).fingerprint.replaceAll(':', '').toLowerCase();
  return { file: certificateFile, pem: certificatePem, sha256: fingerprint, sha1 };
}

interface Result extends Pick<TrustStore, 'kind' | 'title'> {
  readonly outcome: Outcome;
  /** Command for a person if this process cannot make the change; null: not needed. */
  readonly command: string | null;
}

async function planFor(store: TrustStore, change: Change): Promise<Outcome> {
  if ((await store.has()) === (change === 'install')) return 'unchanged';
  return (await isWritable(store)) ? 'changed' : 'needs_root';
}

async function apply(store: TrustStore, change: Change, env: NodeJS.ProcessEnv): Promise<Outcome> {
  const isCalled = await runCalls(store[change], env);
  // Some programs exit with 0 and change nothing.
  return isCalled && (await store.has()) === (change === 'install') ? 'changed' : 'failed';
}

function commandFor(calls: TrustStore[Change], outcome: Outcome): string | null {
  if (outcome !== 'needs_root' && outcome !== 'failed') return null;
  const before = outcome === 'failed' ? '' : 'sudo ';
  return calls.map((words) => `${before}${words.map(shellWord).join(' ')}`).join(' && ');
}

/** Describes in one line who trusts the CA, for which names, and where its key is. */
async function risk({ permittedNames }: CertificateAuthority, keyFile: string): Promise<string> {
  const mode = ((await stat(keyFile)).mode & 0o777).toString(8).padStart(4, '0');
  const names =
    permittedNames.length === 0 ? 'any host' : `only ${permittedNames.map(({ text }) => text).join(', ')}`;
  return `Risk: programs that use these stores will trust certificates of this CA for ${names}. Its key is ${keyFile} (mode ${mode}, encrypted).`;
}

/** @throws SidekeyError `input_invalid` without a terminal */
async function isWanted({ ask, openLines }: Context, change: Change): Promise<boolean> {
  if (ask !== null) return confirm(openLines, 'Continue?', false);
  throw inputInvalid('There is no terminal to ask; nothing was changed.', `sidekey ca ${change} --yes`);
}

function sentence({ title, outcome, command }: Result, change: Change): string {
  const isInstall = change === 'install';
  return {
    changed: `${isInstall ? 'Installed in' : 'Removed from'} ${title}.`,
    unchanged: `${isInstall ? 'Already installed in' : 'Not installed in'} ${title}.`,
    needs_root: `Not changed: ${title} belongs to root. Run:\n  ${command}`,
    failed: `Failed: ${title}. Run this to see why:\n  ${command}`,
  }[outcome];
}
