import { spawn, execFileSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';

/** A program beside the bench, with the CPU time it has used. */
export interface Running {
  readonly pid: number;
  /** User and system time of it, its children and what they have left, in microseconds (Linux). */
  cpuMicros(): number;
  /** Resident memory of it and its children in MB (Linux). */
  residentMb(): number;
  stop(): Promise<void>;
}

/** Options for the start of a program besides its arguments. */
export interface StartOptions {
  /** Variables added to the environment of the bench. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Signal that stops the program; default: SIGTERM. SIGKILL is for slow ones that leave nothing that
   * matters.
   */
  readonly endsBy?: 'SIGTERM' | 'SIGKILL';
}

/** Ticks are of 10 ms on every Linux that Node.js runs on (`getconf CLK_TCK`). */
export const tickMicros = 10_000;
/** Debian keeps daemons where the path of an ordinary user does not lead. */
const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

/** Starts a program and waits until it accepts connections on the port. */
export async function startProgram(
  command: string,
  args: readonly string[],
  port: number,
  options: StartOptions = {},
): Promise<Running> {
  const { running, failure } = spawnProgram(command, args, options);
  for (let tries = 0; !(await accepts(port)); tries += 1) {
    const reason = failure();
    if (reason === null && tries < 2_000) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      continue;
    }
    await running.stop();
    throw new Error(`${command} does not listen on ${port}${reason === null ? '' : `: ${reason}`}`);
  }
  return running;
}

/** Starts a program with as many open files as the machine allows, and does not wait for it. */
export function spawnProgram(
  command: string,
  args: readonly string[],
  { env = {}, endsBy = 'SIGTERM' }: StartOptions,
): {
  readonly running: Running;
  /** Null while it runs; else its last words. */
  readonly failure: () => string | null;
} {
  // The shell becomes the program, so the pid is the program's.
  const script = 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"';
  const child = spawn('sh', ['-c', script, command, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PATH: path, ...env },
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = `${complaint}${chunk.toString()}`.slice(-2_000)));
  const pid = child.pid ?? 0;
  return {
    running: {
      pid,
      cpuMicros: () => cpuMicrosOf(pid),
      residentMb: () => familyOf(pid).reduce((sum, member) => sum + residentOf(member), 0),
      stop: () => stop(child, endsBy),
    },
    failure: () => (hasEnded(child) ? complaint || 'it ended without a word' : null),
  };
}

/**
 * User and system time of a process, its children and those that it has waited for, in microseconds (Linux).
 */
export function cpuMicrosOf(pid: number): number {
  return familyOf(pid).reduce((sum, member) => sum + ticksOf(member), 0) * tickMicros;
}

/** CPU time of the threads of a process, in microseconds to the nanosecond (Linux). */
export function threadMicrosOf(pid: number): { readonly main: number; readonly others: number } {
  const micros = (thread: string) =>
    Number(readOr(`/proc/${pid}/task/${thread}/schedstat`).split(' ', 1)[0]) / 1_000;
  const threads = listOr(`/proc/${pid}/task`);
  const others = threads.filter((thread) => thread !== String(pid));
  return { main: micros(String(pid)), others: others.reduce((sum, thread) => sum + micros(thread), 0) };
}

/** Reports whether a program can be found. */
export function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$1"', 'sh', program], { stdio: 'ignore', env: { PATH: path } });
    return true;
  } catch {
    return false;
  }
}

/**
 * The first number with a dot that a program says when it is asked for its version; empty where it says none.
 */
export function versionOf(program: string, option: string): string {
  try {
    const said = execFileSync(program, [option], { encoding: 'utf8', env: { ...process.env, PATH: path } });
    return /\d+(\.\d+)+/.exec(said)?.[0] ?? '';
  } catch {
    return '';
  }
}

/** Maximum number of open files of a program here. */
export function openFileLimit(): number {
  const said = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim();
  return said === 'unlimited' ? Infinity : Number(said);
}

async function stop(child: ChildProcess, endsBy: NodeJS.Signals): Promise<void> {
  // What the program has started may outlive it, and must not keep the bench.
  child.stderr?.destroy();
  if (hasEnded(child)) return;
  child.kill(endsBy);
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await once(child, 'exit');
  clearTimeout(timer);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** A process and all below it. Each of its threads has children of its own (proc(5)). */
function familyOf(pid: number): number[] {
  const children = listOr(`/proc/${pid}/task`).flatMap((thread) =>
    readOr(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(familyOf)];
}

/**
 * Fields 14 to 17 of /proc/PID/stat: utime, stime, and those of children that have ended, cutime and cstime
 * (proc(5)).
 */
function ticksOf(pid: number): number {
  const stat = readOr(`/proc/${pid}/stat`);
  const times = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15);
  return times.reduce((sum, ticks) => sum + Number(ticks), 0);
}

function residentOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readOr(`/proc/${pid}/status`))?.[1] ?? 0) / 1_024;
}

function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function listOr(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
