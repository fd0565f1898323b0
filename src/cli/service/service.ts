import { existsSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';
import { machineFilesOf } from '../../config/store-place.ts';
import { door, isExecutable } from '../../lib/package-files.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { exitCode } from '../../lib/failures.ts';
import { makeFolder } from '../../lib/os.ts';
import { pause, systemTimers } from '../../lib/timers.ts';
import type { Context } from '../context.ts';
import { isoTime, proxyUrl, relativeTime } from '../../operations/format.ts';
import { showProgram } from '../programs.ts';
import { findProgram } from '../../lib/programs.ts';
import { askHealth } from '../status/ask-proxy.ts';
import { launchd } from './launchd.ts';
import type { ServiceManager } from './manager.ts';
import { systemd } from './systemd.ts';

/** Milliseconds after `limits.drain` for the last audit lines and the end of helpers. */
const stopGraceMs = 15_000;

/** Milliseconds until a new service must respond, and between two requests. */
const startMs = 15_000;
const askEveryMs = 100;

/** `sidekey service install` */
export async function installService(context: Context): Promise<void> {
  const { env, output } = context;
  if (door.includes(`${sep}_npx${sep}`)) {
    throw inputInvalid(
      'This copy of Sidekey is in the cache of npx, which may remove it.',
      'npm install -g sidekey, then sidekey service install',
    );
  }
  const manager = managerOf(env);
  const config = await context.config();
  const { listen } = config.proxy;
  const installed = await manager.state();
  if (installed?.running !== true && (await askHealth(listen)).kind === 'serving') {
    throw new SidekeyError('port_in_use', `A Sidekey already serves at ${listen.host}:${listen.port}.`, {
      hint: 'end it with Ctrl-C where you started it, then: sidekey service install',
    });
  }
  const variables = join(dirname(config.file), 'service.env');
  makeFolder(dirname(machineFilesOf(config)), 0o700);
  const files = await manager.install({
    command: [
      await lasting(process.execPath, env['PATH'] ?? ''),
      `--env-file-if-exists=${variables}`,
      ...(isExecutable ? [] : [door]),
      'start',
      '--config',
      config.file,
    ],
    environment: env['PATH'] === undefined ? {} : { PATH: env['PATH'] },
    listen,
    stopMs: config.limits.drain + stopGraceMs,
  });
  await answers(context, listen);
  const url = proxyUrl(listen);
  output.result(
    { files, proxy: url, config: config.file, environment_file: variables },
    [
      `Sidekey runs as a service at ${url}, and starts when you log in.`,
      ...files.map((file) => `  wrote ${file}`),
      `  variables for env: references of the config: ${variables}${existsSync(variables) ? '' : ' (not there yet; make it with mode 0600)'}`,
      'Next: sidekey service status, sidekey service logs',
    ].join('\n'),
  );
}

/**
 * Returns a program's path on the PATH if that leads to the same file. Package managers such as Homebrew have
 * a folder for each version, and keep the link.
 */
async function lasting(program: string, path: string): Promise<string> {
  const link = await findProgram(basename(program), path);
  if (link === null || !isAbsolute(link)) return program;
  return realpathSync(link) === realpathSync(program) ? link : program;
}

/** Waits until the proxy responds. @throws SidekeyError `service_failed` */
async function answers({ now }: Context, listen: Parameters<typeof askHealth>[0]): Promise<void> {
  for (const end = now() + startMs; ; await pause(systemTimers, askEveryMs)) {
    const { kind } = await askHealth(listen);
    if (kind === 'serving' || kind === 'unknown') return;
    if (now() < end) continue;
    throw new SidekeyError('service_failed', 'The service is installed, and does not answer.', {
      hint: 'sidekey service logs',
    });
  }
}

/** Reports whether the service is installed; false on a system without a service manager. */
export async function isInstalled(env: NodeJS.ProcessEnv): Promise<boolean> {
  try {
    return (await managerOf(env).state()) !== null;
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return false;
  }
}

/** `sidekey service uninstall` */
export async function uninstallService({ env, output }: Context): Promise<void> {
  const files = await managerOf(env).uninstall();
  output.result(
    { files },
    files.length === 0
      ? 'The service is not installed.'
      : [
          'The service is stopped and removed. Config, credentials and audit log stay.',
          ...files.map((file) => `  removed ${file}`),
        ].join('\n'),
  );
}

/** `sidekey service status`: exit code 1 if the service is not installed or does not run. */
export async function showService({ env, now, output }: Context): Promise<number | void> {
  const state = await managerOf(env).state();
  if (state === null) return notInstalled(output);
  const { running, state: word, pid, since, file } = state;
  const facts = [word, ...(pid === null ? [] : [`process ${pid}`])];
  if (since !== null) facts.push(`started ${relativeTime(since, now())}`);
  output.result(
    { installed: true, running, state: word, pid, since: since === null ? null : isoTime(since), file },
    [
      `The service ${running ? 'runs' : 'does not run'}: ${facts.join(', ')}.`,
      `  ${file}`,
      ...(running ? [] : ['  → sidekey service logs']),
    ].join('\n'),
  );
  return running ? undefined : exitCode.failure;
}

function notInstalled(output: Context['output']): number {
  output.result({ installed: false }, 'The service is not installed.\n  → sidekey service install');
  return exitCode.failure;
}

export interface LogsOptions {
  readonly lines?: string;
  readonly follow?: boolean;
}

/** `sidekey service logs` */
export async function showLogs(
  { env, output }: Context,
  { lines = '100', follow = false }: LogsOptions,
): Promise<number> {
  if (!/^[1-9][0-9]{0,6}$/.test(lines)) {
    throw inputInvalid('--lines is not a number of lines.', 'sidekey service logs --lines 200');
  }
  const manager = managerOf(env);
  if ((await manager.state()) === null) return notInstalled(output);
  return showProgram(manager.logs(Number(lines), follow), { stdio: 'inherit', env });
}

/** @throws SidekeyError `service_failed` on a system without systemd or launchd */
function managerOf(env: NodeJS.ProcessEnv): ServiceManager {
  const home = env['HOME'] ?? homedir();
  const folder = env['XDG_CONFIG_HOME'];
  if (process.platform === 'linux')
    return systemd(folder !== undefined && isAbsolute(folder) ? folder : join(home, '.config'), env);
  if (process.platform === 'darwin') return launchd(home, process.getuid?.() ?? 0, env);
  throw new SidekeyError('service_failed', `Sidekey has no service for ${process.platform}.`, {
    hint: 'start "sidekey start" with the service manager of your system',
  });
}
