import { execFile, spawnSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import type { AuditLine } from '../../src/domain/event.ts';
import { home, type Home } from '../support/command-line.ts';
import { startUpstream, upstreamCa, upstreamHost, type Upstream } from '../support/upstream.ts';

const token = 'key-secret-0123456789';

interface Stand {
  readonly at: Home;
  readonly upstream: Upstream;
  readonly seen: readonly IncomingMessage[];
  /** Variables that `sidekey env --shell json` set. */
  readonly set: Readonly<Record<string, string>>;
}

/** A proxy that runs, an upstream that only it can find, and the variables that lead there. */
async function stand(agents: 'required' | 'optional'): Promise<Stand> {
  const seen: IncomingMessage[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request);
    response.setHeader('content-type', 'text/plain').end('reached\n');
  });
  const at = await home({
    proxy: { listen: '127.0.0.1:0', authentication: agents },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'work' } },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('work', { api_key: token }, ['--provider', 'github', '--audience', upstream.authority]);
  const { url } = await at.start();
  await at.run(['agent', 'create', 'ci', '--grant', 'work']);
  const asAgent = agents === 'required' ? ['--agent', 'ci'] : [];
  const env = { PATH: process.env['PATH'] ?? '', GITHUB_TOKEN: 'real-token' };
  const change = (await at.json(['env', '--proxy', url, ...asAgent], { env })) as {
    set: Record<string, string>;
  };
  await mkdir(at.at('home'));
  return { at, upstream, seen, set: change.set };
}

/** Runs a program with exactly these variables, PATH and an empty HOME; `URL` is the upstream's. */
function runWith({ at, set, upstream }: Stand, program: string, args: readonly string[], path: string) {
  return new Promise<{ stdout: string; stderr: string }>((resolve) => {
    execFile(
      program,
      args,
      {
        cwd: at.folder,
        timeout: 50_000,
        env: { PATH: process.env['PATH'], HOME: at.at('home'), ...set, URL: `${upstream.url}/${path}` },
      },
      (_error, stdout, stderr) => resolve({ stdout, stderr }),
    );
  });
}

const isInstalled = (program: string, args: readonly string[]) =>
  spawnSync(program, args, { stdio: 'ignore' }).status === 0;

const requests = 'import requests,os;print(requests.get(os.environ["URL"]).text)';
const urllib = 'import urllib.request as u,os;print(u.urlopen(os.environ["URL"]).read())';
const fetching = 'fetch(process.env.URL).then((r) => r.text()).then(console.log)';
const getting = "require('https').get(process.env.URL, (r) => r.pipe(process.stdout))";
/** Both HTTP clients of the JDK. */
const probe = `
import java.net.*; import java.net.http.*;
public class Probe {
  public static void main(String[] args) throws Exception {
    String url = System.getenv("URL");
    System.out.write(new URL(url).openStream().readAllBytes());
    HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
    System.out.print(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}
`;
const lwp =
  'my $r = LWP::UserAgent->new->get($ENV{URL}); print $r->is_success ? $r->content : $r->status_line';

/**
 * Programs that show a token to a proxy: arguments that fetch $URL, and what tells whether the program is
 * here.
 */
const programs = {
  curl: ['curl', ['-sS', '$URL'], ['--version']],
  wget: ['wget', ['-qO-', '$URL'], ['--version']],
  'urllib of Python': ['python3', ['-c', urllib], ['--version']],
  'requests of Python': ['python3', ['-c', requests], ['-c', 'import requests']],
  'fetch of Node.js': [process.execPath, ['-e', fetching], ['-v']],
  'https of Node.js': [process.execPath, ['-e', getting], ['-v']],
  'Net::HTTP of Ruby': ['ruby', ['-rnet/http', '-e', 'puts Net::HTTP.get(URI(ENV["URL"]))'], ['-v']],
  'the curl extension of PHP': [
    'php',
    ['-r', '$c=curl_init(getenv("URL"));curl_exec($c);'],
    ['-r', 'curl_init();'],
  ],
  'LWP of Perl': ['perl', ['-MLWP::UserAgent', '-e', lwp], ['-MLWP::Protocol::https', '-e', '1']],
} as const satisfies Record<string, readonly [string, readonly string[], readonly string[]]>;

const [here, missing] = Object.entries(programs).reduce<[[string, string, readonly string[]][], string[]]>(
  ([found, not], [name, [program, args, check]]) =>
    isInstalled(program, check) ? [[...found, [name, program, args]], not] : [found, [...not, name]],
  [[], []],
);

describe('with only the variables of sidekey env', () => {
  test('programs reach the upstream with the token without seeing it', async () => {
    const it = await stand('required');
    expect(JSON.stringify(it.set)).not.toMatch(/real-token|key-secret/);
    const answers: Record<string, string> = {};
    for (const [name, program, args] of here) {
      const path = encodeURIComponent(name);
      const words = args.map((word) => (word === '$URL' ? `${it.upstream.url}/${path}` : word));
      const { stdout, stderr } = await runWith(it, program, words, path);
      answers[name] = stdout.includes('reached') ? 'reached' : stdout + stderr;
    }
    expect(answers).toEqual(Object.fromEntries(here.map(([name]) => [name, 'reached'])));
    expect(it.seen.map(({ url, headers }) => [url, headers.authorization])).toEqual(
      here.map(([name]) => [`/${encodeURIComponent(name)}`, `Bearer ${token}`]),
    );
  }, 120_000);

  test.skipIf(!isInstalled('git', ['--version']))(
    'git sends the agent token in its first request (git)',
    async () => {
      const it = await stand('required');
      // git gets a response that is not of a repository, and reports that.
      const { stderr } = await runWith(it, 'git', ['ls-remote', `${it.upstream.url}/r.git`], '');
      expect(stderr).toContain('not valid: is this a git repository?');
      expect(it.seen.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${token}`]);
      const lines = (await readFile(it.at.at('data', 'audit.jsonl'), 'utf8')).trim().split('\n');
      const events = lines.map((line) => JSON.parse(line) as AuditLine);
      expect(events.filter(({ code }) => code === 'agent_auth_required')).toEqual([]);
      expect(events.find(({ event }) => event === 'access')).toMatchObject({ agent: 'ci' });
    },
  );

  test.skipIf(!isInstalled('java', ['-version']))(
    'Java reaches the upstream if agents need no token (java 11 or later)',
    async () => {
      const it = await stand('optional');
      await writeFile(it.at.at('Probe.java'), probe);
      const { stdout, stderr } = await runWith(it, 'java', [it.at.at('Probe.java')], 'java');
      expect(stdout, stderr).toBe('reached\nreached\n');
      expect(it.seen.map(({ headers }) => headers.authorization)).toEqual(Array(2).fill(`Bearer ${token}`));
    },
  );

  for (const name of missing) test.skip(`${name} is not installed`);
});
