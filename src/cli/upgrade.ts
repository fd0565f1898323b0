import { execFile, spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from '../lib/package-files.ts';
import { SidekeyError } from '../lib/errors.ts';
import { exitCode } from '../lib/failures.ts';
import type { Context } from './context.ts';
import { packageVersion } from './command.ts';

/**
 * `sidekey upgrade`: installs the newest version where npm installed this one, and says what to do elsewhere. With
 * `--check` it changes nothing; the exit code is 1 if there is a newer version.
 *
 * @throws SidekeyError `upstream_unreachable` if npm cannot reach its registry
 */
export async function upgrade(
  { env, output }: Context,
  { check = false }: { readonly check?: boolean },
): Promise<number | void> {
  const installed = packageVersion();
  const newest = (
    await output.during('Asking npm for the newest version', () => npm(['view', 'sidekey', 'version'], env))
  ).trim();
  const facts = { installed, newest, newer: isNewer(newest, installed) };
  if (!facts.newer) {
    output.result(facts, `Sidekey ${installed} is the newest version.`);
    return;
  }
  const command = ['install', '--global', `sidekey@${newest}`];
  if (check) {
    const how = (await isGlobal(env)) ? 'sidekey upgrade' : elsewhere();
    output.result(facts, `Sidekey ${newest} is available; this is ${installed}.\n  → ${how}`);
    return exitCode.failure;
  }
  if (!(await isGlobal(env))) {
    const sentence = `npm has not installed this copy of Sidekey ${installed}, so it cannot be replaced by ${newest}.`;
    throw new SidekeyError('input_invalid', sentence, { hint: elsewhere() });
  }
  output.say(`npm ${command.join(' ')}`);
  const exit = await new Promise<number>((resolve, reject) => {
    // Standard output is for the result.
    const child = spawn('npm', command, {
      env,
      stdio: ['ignore', 2, 2],
      shell: process.platform === 'win32',
    });
    child.once('error', reject).once('close', (code) => resolve(code ?? exitCode.failure));
  });
  if (exit !== 0) {
    throw new SidekeyError('file_unwritable', `npm could not install Sidekey ${newest}.`, {
      hint: `read its message above, then: npm ${command.join(' ')}`,
    });
  }
  output.result(
    { ...facts, installed: newest },
    `Sidekey ${newest} is installed. A running proxy continues with ${installed} until its next start.\n  → sidekey service install   (restarts the service)`,
  );
}

/** The way to a newer version for a copy that npm did not install globally. */
function elsewhere(): string {
  return existsSync(join(packageRoot, '.git'))
    ? 'git pull && npm ci'
    : 'install it the way you installed this one: docs/upkeep.md';
}

async function isGlobal(env: NodeJS.ProcessEnv): Promise<boolean> {
  const root = (await npm(['root', '--global'], env)).trim();
  return existsSync(root) && realpathSync(root) === dirname(realpathSync(packageRoot));
}

/** Returns the output of npm, which knows the registry, the proxy and the login of this machine. */
function npm(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    const windows = process.platform === 'win32';
    execFile('npm', [...args], { env, encoding: 'utf8', shell: windows }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const why = error.code === 'ENOENT' ? 'npm is not installed' : /npm error code (\w+)/.exec(stderr)?.[1];
      const sentence = `The newest version is not known (${why ?? 'npm failed'}).`;
      reject(
        new SidekeyError('upstream_unreachable', sentence, {
          hint: 'npm view sidekey version',
          cause: error,
        }),
      );
    });
  });
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
