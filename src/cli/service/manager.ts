import { SidekeyError } from '../../lib/errors.ts';
import { type Call, type Ended, runProgram } from '../programs.ts';

export interface Plan {
  /** Program and arguments. All paths are absolute. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly listen: { readonly host: string; readonly port: number };
  /** Milliseconds that a stop may take. */
  readonly stopMs: number;
}

interface ServiceState {
  readonly running: boolean;
  /** The manager's word: `active (running)`. */
  readonly state: string;
  readonly pid: number | null;
  /** Start in milliseconds since the epoch; null: unknown, or not running. */
  readonly since: number | null;
  readonly file: string;
}

/** An operating system's service manager. Methods throw SidekeyError `service_failed`, `file_unwritable`. */
export interface ServiceManager {
  /** Installs or replaces the service, and starts it. Returns the written files. */
  install(plan: Plan): Promise<readonly string[]>;
  /** Stops the service and removes its files. Returns the files; none if it was not installed. */
  uninstall(): Promise<readonly string[]>;
  /** Null: not installed. */
  state(): Promise<ServiceState | null>;
  /** Returns the program that prints the log, with its arguments. */
  logs(lines: number, follow: boolean): Call;
}

/** Runs a program of the service manager. @throws SidekeyError `service_failed` if it is missing */
export async function tryRun(call: Call, env: NodeJS.ProcessEnv): Promise<Ended> {
  const ended = await runProgram(call, { env });
  if (ended !== null) return ended;
  throw new SidekeyError('service_failed', `This system has no ${call[0]}, which manages services.`, {
    hint: 'start Sidekey with the service manager of your system: sidekey start --config FILE',
  });
}

/** Runs a program of the service manager. @throws SidekeyError `service_failed` with its last output */
export async function runTool(call: Call, env: NodeJS.ProcessEnv): Promise<string> {
  const { code, stdout, stderr } = await tryRun(call, env);
  if (code === 0) return stdout;
  const said = stderr.trim().split('\n').at(-1) || `exit code ${code}`;
  throw new SidekeyError('service_failed', `"${call.join(' ')}" failed: ${said}`, {
    hint: 'sidekey service logs',
  });
}
