import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot, packageVersion } from '../lib/package-files.ts';
import { SidekeyError } from '../lib/errors.ts';
import { exitCode } from '../lib/failures.ts';
import type { Context } from './context.ts';
import { runProgram, showProgram } from './programs.ts';

/**
 * `sidekey upgrade`: installs the newest version if npm installed this one, else prints how to. `--check`
 * changes nothing; exit code 1 if there is a newer version.
 *
 * @throws SidekeyError `upstream_unreachable` if npm cannot reach its registry
 */
export async function upgrade(
  { env, output }: Context,
  { check = false }: { readonly check?: boolean },
): Promise<number | void> {
  const installed = packageVersion();
  const newest = await output.during('Asking npm for the newest version', () =>
    npm(['view', 'sidekey', 'version'], env),
  );
  const facts = { installed, newest, newer: isNewer(newest, installed) };
  if (!facts.newer) {
    output.result(facts, `Sidekey ${installed} is the newest version.`);
    return;
  }
  const command = ['npm', 'install', '--global', `sidekey@${newest}`] as const;
  if (check) {
    const how = (await isGlobal(env)) ? 'sidekey upgrade' : elsewhere();
    output.result(facts, `Sidekey ${newest} is available; this is ${installed}.\n  → ${how}`);
    return exitCode.failure;
  }
  if (!(await isGlobal(env))) {
    const sentence = `npm has not installed this copy of Sidekey ${installed}, so it cannot be replaced by ${newest}.`;
    throw new SidekeyError('input_invalid', sentence, { hint: elsewhere() });
  }
  output.say(command.join(' '));
  // Standard output is for the result.
  if ((await showProgram(command, { env, stdio: ['ignore', 2, 2], shell })) !== 0) {
    throw new SidekeyError('file_unwritable', `npm could not install Sidekey ${newest}.`, {
      hint: `read its message above, then: ${command.join(' ')}`,
    });
  }
  output.result(
    { ...facts, installed: newest },
    `Sidekey ${newest} is installed. A running proxy continues with ${installed} until its next start.\n  → sidekey service install   (restarts the service)`,
  );
}

// On Windows, npm is a script.
const shell = process.platform === 'win32';

/** Describes the upgrade of a copy that npm did not install globally. */
function elsewhere(): string {
  return isCheckout() ? gitUpgrade : 'install it the way you installed this one: docs/upkeep.md';
}

const gitUpgrade = 'git pull && npm ci';

function isCheckout(): boolean {
  return existsSync(join(packageRoot, '.git'));
}

async function isGlobal(env: NodeJS.ProcessEnv): Promise<boolean> {
  const root = await npm(['root', '--global'], env);
  return existsSync(root) && realpathSync(root) === dirname(realpathSync(packageRoot));
}

/** Returns the output of npm, which has the registry, proxy and login settings of this machine. */
async function npm(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const ended = await runProgram(['npm', ...args], { env, shell });
  if (ended?.code === 0) return ended.stdout.trim();
  const why = ended === null ? 'npm is not installed' : /npm error code (\w+)/.exec(ended.stderr)?.[1];
  if (why === 'E404') {
    throw new SidekeyError('not_found', 'Sidekey is not published in the registry of npm.', {
      hint: isCheckout() ? gitUpgrade : 'npm config get registry',
    });
  }
  throw new SidekeyError(
    'upstream_unreachable',
    `The newest version is not known (${why ?? 'npm failed'}).`,
    {
      hint: isCheckout() ? gitUpgrade : 'check the network and the registry: npm config get registry',
    },
  );
}

/** Compares `major.minor.patch`; a pre-release is older than its release (semver.org, section 11). */
export function isNewer(one: string, other: string): boolean {
  const [a, b] = [parts(one), parts(other)];
  const at = a.findIndex((value, index) => value !== b[index]);
  return at >= 0 && a[at]! > b[at]!;
}

function parts(version: string): readonly number[] {
  const [, major, minor, patch, pre] = /^(\d+)\.(\d+)\.(\d+)(-.+)?/.exec(version) ?? [];
  return [Number(major), Number(minor), Number(patch), pre === undefined ? 1 : 0];
}
