import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, extname, isAbsolute, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isExecutable, packageRoot } from '../../src/lib/package-files.ts';
import { DemoFailure } from './claim.ts';

/** A client that knows of a proxy and of its CA, and of nothing else. */
export interface Agent {
  /** Its whole environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** What it is run as: `curl …`. */
  readonly commandFor: (url: string) => string;
  /** Runs it in a process of its own. Throws `DemoFailure` where it fails, or its `AbortError`. */
  readonly run: (url: string, signal: AbortSignal) => Promise<AgentRun>;
}

/** What the agent saw. */
export interface AgentRun {
  /** What it sent to the proxy and, within the tunnel, to the API: request line and fields, line by line. */
  readonly sent: readonly (readonly string[])[];
  /** Status of the last response. */
  readonly status: number;
  readonly body: string;
}

/** Where the agent's proxy and its CA are. */
export interface AgentPlace {
  readonly proxyUrl: string;
  readonly caFile: string;
}

const patienceMs = 20_000;

/** The machine's curl, where there is one; else Node's own fetch. */
export async function findAgent(place: AgentPlace, env: NodeJS.ProcessEnv): Promise<Agent> {
  const curl = await findProgram('curl', env['PATH'] ?? '');
  return curl === null ? fetchAgent(place) : curlAgent(place, curl);
}

/** @param curl path of the program */
export function curlAgent({ proxyUrl, caFile }: AgentPlace, curl: string): Agent {
  const environment = { HTTPS_PROXY: proxyUrl, CURL_CA_BUNDLE: caFile };
  // -q: no .curlrc, so that the command does the same everywhere. -v: what was sent, on stderr.
  return {
    environment,
    commandFor: (url) => `curl -qsv '${url}'`,
    run: (url, signal) => runAgent(curl, ['-qsv', url], environment, signal),
  };
}

export function fetchAgent({ proxyUrl, caFile }: AgentPlace): Agent {
  const environment = { HTTPS_PROXY: proxyUrl, NODE_EXTRA_CA_CERTS: caFile, NODE_USE_ENV_PROXY: '1' };
  const program = isExecutable
    ? join(packageRoot, 'examples', 'demo', 'fetch-agent.ts')
    : fileURLToPath(new URL(`fetch-agent${extname(import.meta.url)}`, import.meta.url));
  return {
    environment,
    commandFor: (url) =>
      isExecutable
        ? `'${process.execPath}' '${program}' '${url}'`
        : `node ${relative(process.cwd(), program)} '${url}'`,
    run: (url, signal) => runAgent(process.execPath, [program, url], environment, signal),
  };
}

function runAgent(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<AgentRun> {
  return new Promise((resolve, reject) => {
    execFile(file, args, { env: { ...env }, signal, timeout: patienceMs }, (error, body, trace) => {
      if (error === null) {
        const answers = headsIn(trace, '<');
        const status = Number(/^HTTP\/\S+ (\d{3})/.exec(answers.at(-1)?.[0] ?? '')?.[1] ?? 0);
        resolve({ sent: headsIn(trace, '>'), status, body });
      } else if (error.name === 'AbortError') {
        reject(error);
      } else {
        const why = trace.trim().split('\n').at(-1) ?? '';
        const end =
          error.killed === true
            ? `did not end in ${patienceMs / 1_000} s`
            : `failed (${error.code ?? 'killed'})`;
        reject(new DemoFailure(`The agent's request ${end}: ${why}`));
      }
    });
  });
}

/**
 * The message heads in a trace as `curl -v` writes it: `> ` before what was sent, `< ` before what was
 * received.
 */
function headsIn(trace: string, mark: '>' | '<'): string[][] {
  const heads: string[][] = [];
  let head: string[] = [];
  for (const line of trace.split(/\r?\n/)) {
    if (!line.startsWith(mark)) continue;
    const text = line.slice(2);
    if (text !== '') {
      head.push(text);
    } else if (head.length > 0) {
      heads.push(head);
      head = [];
    }
  }
  return heads;
}

async function findProgram(name: string, path: string): Promise<string | null> {
  for (const folder of path.split(delimiter).filter((entry) => isAbsolute(entry))) {
    const file = join(folder, name);
    const runs = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return file;
  }
  return null;
}
