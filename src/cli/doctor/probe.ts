import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { clients, type Client } from '../../clients/client-table.ts';
import { probes, type Probe } from './probe-table.ts';
import type { ProbeStand } from './stand.ts';
import { lastWords, verdictOf, type ProbeEnd, type Verdict } from './verdict.ts';

/** What became of one program. */
export interface Probed {
  readonly client: Client;
  readonly library: string | null;
  /** Null: it is not installed. */
  readonly verdict: Verdict | null;
  /** What it said where it does not work. */
  readonly said: string | null;
}

const width = 4;
/** A compiler that builds its library first takes a minute on a slow machine. */
const patienceMs = 180_000;

/** The page of the proxy begins so, as text and as JSON. Its name alone stands in every complaint about it. */
const page = /This is Sidekey\.|\{"sidekey":1,/;

/** Asks every program that is installed. Answers in the order of the table; `only`: names of clients, null: all. */
export async function probeClients(
  stand: ProbeStand,
  only: ReadonlySet<string> | null,
): Promise<readonly Probed[]> {
  const chosen = probes.filter(({ client }) => only === null || only.has(client));
  const found: Probed[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < chosen.length; at = next++) {
      found[at] = await probe(chosen[at]!, join(stand.folder, `probe-${at}`), stand);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return found;
}

async function probe(
  { client: name, library, program, words, files = {}, needs, reached = page, env = () => ({}) }: Probe,
  folder: string,
  { url, env: given }: ProbeStand,
): Promise<Probed> {
  const client = clients.find((each) => each.name === name);
  if (client === undefined) throw new Error(`no client ${name}`);
  const path = await findProgram(program, given['PATH'] ?? '');
  if (path === null) return { client, library, verdict: null, said: null };
  await mkdir(folder, { mode: 0o700 });
  const surroundings = { cwd: folder, env: { ...given, ...env(folder) } };
  if (needs !== undefined && (await ended(path, needs, surroundings)).exit !== 0)
    return { client, library, verdict: null, said: null };
  for (const [file, content] of Object.entries(files)) await writeFile(join(folder, file), content);
  const end = await ended(path, words(url, folder), surroundings);
  const verdict = verdictOf(end, reached);
  return { client, library, verdict, said: verdict === 'works' ? null : lastWords(end) };
}

/** Runs one program to its end, or to the end of our patience. Never rejects. */
function ended(
  path: string,
  words: readonly string[],
  { cwd, env }: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<ProbeEnd> {
  return new Promise((resolve) => {
    const written = { stdout: '', stderr: '' };
    let timedOut = false;
    // A group of its own: what it has started ends with it.
    const child = spawn(path, words, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const timer = setTimeout(() => {
      timedOut = true;
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, patienceMs);
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        if (written[name].length < 100_000) written[name] += text;
      });
    }
    child.once('error', (error) => {
      clearTimeout(timer);
      resolve({ exit: null, stdout: '', stderr: error.message, timedOut });
    });
    child.once('close', (exit) => {
      clearTimeout(timer);
      resolve({ exit, ...written, timedOut });
    });
  });
}

async function findProgram(name: string, path: string): Promise<string | null> {
  for (const folder of path.split(delimiter)) {
    if (folder === '') continue;
    const file = join(folder, name);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  return null;
}
