import { execFile } from 'node:child_process';
import { SidekeyError } from '../../lib/errors.ts';

/** The service to install. */
export interface Plan {
  /** Program and arguments. All paths are absolute. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly listen: { readonly host: string; readonly port: number };
  /** Milliseconds that a stop may take. */
  readonly stopMs: number;
}

/** State of the installed service. */
interface ServiceState {
  readonly running: boolean;
  /** The manager's word: `active (running)`. */
  readonly state: string;
  readonly pid: number | null;
  /** Start in milliseconds since the epoch; null: unknown, or it does not run. */
  readonly since: number | null;
  /** The file that defines the service. */
  readonly file: string;
}

/** A service manager of the operating system. Its methods throw SidekeyError `service_failed`, `file_unwritable`. */
export interface ServiceManager {
  /** Installs the service, or replaces it, and starts it. Returns the files that it wrote. */
  install(plan: Plan): Promise<readonly string[]>;
  /** Stops the service and removes its files. Returns the files; none if it was not installed. */
  uninstall(): Promise<readonly string[]>;
  /** Null: it is not installed. */
  state(): Promise<ServiceState | null>;
  /** Returns the program that prints the log, with its arguments. */
  logs(lines: number, follow: boolean): readonly [string, ...string[]];
}

/** Result of a program. */
interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program of the service manager. @throws SidekeyError `service_failed` if it is not there */
export function tryRun(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { env, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error?.code === 'ENOENT') {
        const sentence = `This system has no ${program}, which manages services.`;
        const hint = 'start Sidekey with the service manager of your system: sidekey start --config FILE';
        reject(new SidekeyError('service_failed', sentence, { hint }));
      } else resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr });
    });
  });
}

/** Runs a program of the service manager. @throws SidekeyError `service_failed` with its last words */
export async function runTool(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const { code, stdout, stderr } = await tryRun(program, args, env);
  if (code === 0) return stdout;
  const said = stderr.trim().split('\n').at(-1) || `exit code ${code}`;
  throw new SidekeyError('service_failed', `"${[program, ...args].join(' ')}" failed: ${said}`, {
    hint: 'sidekey service logs',
  });
}
