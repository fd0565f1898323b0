import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { clients } from '../../clients/programs.ts';
import type { Call } from '../../operations/operation.ts';
import { findProgram } from '../../lib/programs.ts';
import type { Probed, ProbePrograms, Verdict } from '../../operations/program-probe.ts';
import { type ProbeFixture, withProbeFixture } from './fixture.ts';

const width = 4;
/** Time-outs: of a probe among all, and of one named by `--only`, which may first compile its library. */
const timeoutMs = 8_000;
const longTimeoutMs = 180_000;

/** Start of the proxy's page, as text and as JSON. The name alone also occurs in error messages. */
const page = /This is Sidekey\.|\{"sidekey":1,/;

/** Returns the function that probes programs, with a proxy of their own. */
export function probeProgramsOf(parts: Pick<Call, 'env' | 'now'>): ProbePrograms {
  return (config, only) =>
    withProbeFixture(parts, config, async (fixture) => ({
      probed: await probeClients(fixture, only, config.clientsOff),
      notes: fixture.notes,
    }));
}

/** Probes all installed programs. Returns results in table order. `only`: names of clients; null: all. */
async function probeClients(
  fixture: ProbeFixture,
  only: ReadonlySet<string> | null,
  off: ReadonlySet<string>,
): Promise<readonly Probed[]> {
  const chosen = probes.filter(({ client }) => (only === null ? !off.has(client) : only.has(client)));
  const found: Probed[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < chosen.length; at = next++) {
      const ms = only === null ? timeoutMs : longTimeoutMs;
      found[at] = await probe(chosen[at]!, join(fixture.folder, `probe-${at}`), fixture, ms);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return found;
}

async function probe(
  { client: name, library, program, words, files = {}, needs, reached = page, env = () => ({}) }: Probe,
  folder: string,
  { url, env: given }: ProbeFixture,
  ms: number,
): Promise<Probed> {
  const client = clients.find((each) => each.name === name);
  if (client === undefined) throw new Error(`no client ${name}`);
  const path = await findProgram(program, given['PATH'] ?? '');
  if (path === null) return { client, library, verdict: null, said: null };
  await mkdir(folder, { mode: 0o700 });
  const surroundings = { cwd: folder, env: { ...given, ...env(folder) } };
  if (needs !== undefined && (await ended(path, needs, surroundings, ms)).exit !== 0)
    return { client, library, verdict: null, said: null };
  for (const [file, content] of Object.entries(files)) await writeFile(join(folder, file), content);
  const end = await ended(path, words(url, folder), surroundings, ms);
  const verdict = verdictOf(end, reached);
  return { client, library, verdict, said: verdict === 'works' ? null : lastWords(end) };
}

/** Runs a program until it exits or times out. Never rejects. */
function ended(
  path: string,
  words: readonly string[],
  { cwd, env }: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
  ms: number,
): Promise<ProbeEnd> {
  return new Promise((resolve) => {
    const written = { stdout: '', stderr: '' };
    let timedOut = false;
    // In a process group, so that its children are killed too.
    const child = spawn(path, words, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const timer = setTimeout(() => {
      timedOut = true;
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, ms);
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

interface Probe {
  /** Name in `clients/programs.ts`. */
  readonly client: string;
  /** Library of the client, if the client has several probes. */
  readonly library: string | null;
  readonly program: string;
  /** @param folder working folder with `files` */
  readonly words: (url: string, folder: string) => readonly string[];
  /** Files to write before the probe; name → content. */
  readonly files?: Readonly<Record<string, string>>;
  /** Command that succeeds if `library` is installed. */
  readonly needs?: readonly string[];
  /** Output of a program that reached the proxy but rejects the page instead of printing it. */
  readonly reached?: RegExp;
  /** Additional variables. Files that the program writes go to the folder. */
  readonly env?: (folder: string) => Readonly<Record<string, string>>;
}

const java = `import java.net.*;
import java.net.http.*;
public class Probe {
  public static void main(String[] words) throws Exception {
    HttpClient client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
    HttpRequest request = HttpRequest.newBuilder(URI.create(words[0])).build();
    System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}
`;

const go = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	body, _ := io.ReadAll(response.Body)
	fmt.Println(string(body))
}
`;

const python = (library: string, script: string): Probe => ({
  client: 'python',
  library,
  program: 'python3',
  words: (url) => ['-c', script, url],
  needs: ['-c', `import ${library}`],
});

/** All probes, in display order. */
const probes: readonly Probe[] = [
  { client: 'curl', library: null, program: 'curl', words: (url) => ['-sS', '--max-time', '20', url] },
  { client: 'wget', library: null, program: 'wget', words: (url) => ['-nv', '--tries=1', '-O', '-', url] },
  {
    client: 'git',
    library: null,
    program: 'git',
    words: (url) => ['ls-remote', url],
    reached: /repository '.*' not found|not valid: is this a git repository/,
  },
  {
    client: 'node',
    library: 'fetch',
    program: 'node',
    words: (url) => ['-e', 'fetch(process.argv[1]).then((answer) => answer.text()).then(console.log)', url],
  },
  {
    client: 'node',
    library: 'https',
    program: 'node',
    words: (url) => [
      '-e',
      'require("https").get(process.argv[1], (answer) => answer.pipe(process.stdout))',
      url,
    ],
  },
  {
    client: 'npm',
    library: null,
    program: 'npm',
    words: (url) => ['view', 'sidekey-probe', '--registry', url, '--fetch-retries=0'],
    reached: /\bE404\b/,
    env: (folder) => ({ NPM_CONFIG_CACHE: folder, npm_config_cache: folder }),
  },
  {
    client: 'bun',
    library: null,
    program: 'bun',
    words: (url) => ['-e', 'console.log(await (await fetch(process.argv.at(-1))).text())', url],
  },
  {
    client: 'deno',
    library: null,
    program: 'deno',
    words: (url) => ['eval', 'console.log(await (await fetch(Deno.args[0])).text())', url],
  },
  python('requests', 'import sys, requests; print(requests.get(sys.argv[1], timeout=20).text)'),
  python('httpx', 'import sys, httpx; print(httpx.get(sys.argv[1], timeout=20).text)'),
  python(
    'aiohttp',
    [
      'import asyncio, sys, aiohttp',
      'async def main():',
      '    async with aiohttp.ClientSession(trust_env=True) as session:',
      '        print(await (await session.get(sys.argv[1])).text())',
      'asyncio.run(main())',
    ].join('\n'),
  ),
  python(
    'urllib',
    'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())',
  ),
  {
    client: 'pip',
    library: null,
    program: 'pip',
    // The full URL overrides the user's index settings.
    words: (url) =>
      `--disable-pip-version-check --no-input --retries 0 download --no-deps --no-cache-dir -d . ${url}index.json`.split(
        ' ',
      ),
    reached: /Cannot unpack file|cannot detect archive format/i,
  },
  {
    client: 'go',
    library: null,
    program: 'go',
    words: (url, folder) => ['run', '-C', folder, '.', url],
    files: { 'go.mod': 'module probe\n\ngo 1.21\n', 'main.go': go },
    env: () => ({ GOTOOLCHAIN: 'local', GOFLAGS: '-mod=mod' }),
  },
  {
    client: 'java',
    library: 'HttpClient',
    program: 'java',
    words: (url, folder) => [`${folder}/Probe.java`, url],
    files: { 'Probe.java': java },
  },
  {
    client: 'ruby',
    library: null,
    program: 'ruby',
    words: (url) => ['-rnet/http', '-e', 'puts Net::HTTP.get(URI(ARGV[0]))', url],
  },
  {
    client: 'php',
    library: 'curl',
    program: 'php',
    words: (url) => [
      '-r',
      'if (!curl_exec($c = curl_init($argv[1]))) { fwrite(STDERR, curl_error($c)); exit(1); }',
      url,
    ],
    needs: ['-r', 'exit(function_exists("curl_init") ? 0 : 1);'],
  },
  {
    client: 'perl',
    library: 'HTTP::Tiny',
    program: 'perl',
    words: (url) => [
      '-MHTTP::Tiny',
      '-e',
      'my $a = HTTP::Tiny->new(verify_SSL => 1)->get($ARGV[0]); print $a->{content}; exit !$a->{success}',
      url,
    ],
    needs: ['-MHTTP::Tiny', '-MIO::Socket::SSL', '-e', '1'],
  },
  {
    client: 'chromium',
    library: null,
    program: 'chromium',
    words: (url, folder) => [
      '--headless',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // Chromium requires this as root. It loads only our page.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      `--user-data-dir=${folder}`,
      '--dump-dom',
      url,
    ],
  },
];

interface ProbeEnd {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

const untrusted =
  /certificate|self.signed|unknown (?:authority|issuer|CA)|UNABLE_TO_(?:GET|VERIFY)|PKIX|SSL_ERROR|not trusted|ERR_CERT|x509/i;
/** Only the proxy can resolve the name. A program that looks it up bypasses the proxy. */
const unproxied =
  /resolve|ENOTFOUND|EAI_AGAIN|name or service|no such host|getaddrinfo|nodename|UnknownHost|ERR_NAME|dns error|lookup|UnresolvedAddress|ConnectException/i;
/** Excludes times, places and thread IDs of log lines, as Chromium prints them. */
const unauthenticated = /(?<![\d:./])407(?![\d:./\]])|agent_auth_required|proxy authentication/i;

/** @param page output of a program that reached the proxy */
export function verdictOf({ exit, stdout, stderr, timedOut }: ProbeEnd, page: RegExp): Verdict {
  const said = `${stdout}\n${stderr}`;
  if (page.test(said)) return 'works';
  if (timedOut) return 'slow';
  // The order matters: a trust error also names the host, and some programs call it a failed connection.
  if (unauthenticated.test(said)) return 'unauthenticated';
  if (untrusted.test(said)) return 'untrusted';
  if (unproxied.test(said)) return 'unproxied';
  return exit === 0 ? 'unproxied' : 'failed';
}

/** Returns the most specific line of the output, shortened, without control characters. */
export function lastWords({ stdout, stderr }: ProbeEnd): string {
  const lines = `${stdout}\n${stderr}`
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const telling = lines.findLast((line) => /error|fail|fatal|exception|unable|could not/i.test(line));
  return (telling ?? lines.at(-1) ?? 'it said nothing').slice(0, 200);
}
