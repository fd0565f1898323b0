import { basename } from 'node:path';
import { accessTo, isClosed } from '../clients/confine/access.ts';
import {
  closeInherited,
  confineAsPossible,
  type Confined,
  findMechanisms,
  openRunFolder,
  type RunFolder,
} from '../clients/confine/confine.ts';
import { born, type Plan, planOf } from '../clients/confine/plan.ts';
import { readPlaces } from '../clients/confine/places.ts';
import type { Config } from '../config/config.ts';
import { SidekeyError } from '../lib/errors.ts';
import { isWithin, realPath } from '../lib/paths.ts';
import { counted } from './format.ts';
import { landlockAlone, unconfined } from './look-at-runs.ts';

/** Options of `sidekey run` about confinement. */
export interface ConfinementOptions {
  /** `--isolate`, `--no-isolate`; absent: as the config says. */
  readonly isolate?: boolean;
  readonly show?: readonly string[];
  readonly write?: readonly string[];
  readonly socket?: readonly string[];
}

/** A confined command, before its start. */
export interface Confinement {
  readonly plan: Plan;
  readonly folder: RunFolder;
  /** The process that waits for the command. */
  readonly confined: Confined;
  /** Removes the files of the run, and ends a process that has no command yet. */
  close(): Promise<void>;
}

interface Machine {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  /** Files that grants name, known once the store is open. Absent: none. */
  readonly files?: Promise<readonly string[]>;
  readonly platform?: NodeJS.Platform;
}

/**
 * Starts to confine a command, while the proxy starts. If it is to run unconfined, returns the reason.
 *
 * @throws SidekeyError `confinement_missing` with `--isolate`, and as `planOf` and `confine`
 */
export async function openConfinement(
  program: string,
  options: ConfinementOptions,
  machine: Machine,
): Promise<Confinement | string> {
  const { config, env, files, platform } = machine;
  const isolate = options.isolate ?? (config.run.isolate === 'off' ? false : null);
  if (isolate === false) return 'not confined: it reads the files of your user and reaches every network';
  // Before anything else is opened.
  if (process.platform === 'linux') closeInherited();
  let folder: RunFolder | null = null;
  try {
    const mechanisms = await findMechanisms(env, platform, false);
    const { show, write, sockets } = config.run;
    const wanted = {
      config,
      env,
      folder: process.cwd(),
      program,
      show: [...show, ...(options.show ?? [])],
      write: [...write, ...(options.write ?? [])],
      socket: [...sockets, ...(options.socket ?? [])],
    };
    let plan = planOf({ ...wanted, files: [] });
    const opened = (folder = openRunFolder());
    let confined = await confineAsPossible(plan, mechanisms, opened, env);
    // Most grants name no file, so the start does not wait for the store.
    const named = (await files) ?? [];
    if (named.some((path) => !isClosed(accessTo(realPath(path), plan.rules)))) {
      confined.socket?.close();
      confined.child.kill('SIGKILL');
      plan = planOf({ ...wanted, files: named });
      confined = await confineAsPossible(plan, mechanisms, opened, env);
    }
    const close = async () => {
      confined.child.kill('SIGKILL');
      await opened.close();
    };
    return { plan, folder, confined, close };
  } catch (error) {
    await folder?.close();
    const isMissing = error instanceof SidekeyError && error.code === 'confinement_missing';
    if (isolate === true || !isMissing) throw error;
    return unconfined(error);
  }
}

/** Returns a note for each file that runs outside later and was made or changed by the command. */
export function bornNotes({ plan }: Confinement): readonly string[] {
  return born(plan).map(
    (path) => `${path} is new or changed, and runs outside of the run later: read it first`,
  );
}

/** Returns what holds, for the line before the start. */
export function holds({ plan, confined }: Confinement): string {
  const { folder, rules, writesFolder, hidden } = plan;
  const isAlone = confined.mechanisms.bubblewrap === null;
  // Landlock permits the entries beside a hidden one, one by one.
  const isWhole = !isAlone || ![...rules].some(([path, as]) => as === 'absent' && isWithin(path, folder));
  const writes = !writesFolder
    ? 'writes in caches only, because this folder holds your home or files of Sidekey'
    : isWhole
      ? 'writes in this folder and caches'
      : 'changes files of this folder and writes in caches, but makes no new file beside a hidden one';
  const network = isAlone
    ? `, and on other machines the port of the proxy (Landlock alone; ${landlockAlone})`
    : '';
  const shows = hidden === 0 ? '' : ' (--show FILE shows one)';
  return `confined: network only through Sidekey${network}; ${writes}; ${counted(hidden, 'credential file')} hidden${shows}`;
}

/**
 * Returns the environment of a confined command, without the addresses of sockets that the command does not
 * reach. `DOCKER_HOST` names a path that explains the refusal in Docker's message.
 */
export function confinedEnvironment(
  env: NodeJS.ProcessEnv,
  { plan, confined: { variables } }: Confinement,
): NodeJS.ProcessEnv {
  const isReached = (value: string) => plan.sockets.some((path) => value.includes(path));
  const gone = readPlaces().sockets.filter((name) => !isReached(env[name] ?? ''));
  const docker = plan.sockets.some((path) => basename(path) === 'docker.sock')
    ? {}
    : { DOCKER_HOST: noDocker };
  const changed: NodeJS.ProcessEnv = { ...stateVariables(plan), ...env, ...docker, ...variables };
  for (const name of gone) delete changed[name];
  return changed;
}

/** Returns the variables of `sets` whose folder the command may write. */
function stateVariables({ assembled: [home = ''], rules }: Plan): NodeJS.ProcessEnv {
  const set = readPlaces().writable.filter(({ sets }) => sets === true);
  const folders = set.map(({ variable, path }) => [variable, realPath(path.replace('~', home))] as const);
  return Object.fromEntries(folders.filter(([, path]) => rules.get(path) === 'write'));
}

const noDocker = 'unix:///not-in-this-run/sidekey-run--socket/run/docker.sock';
