/**
 * What each program is asked to do so that one sees whether it reaches the proxy and trusts its CA: to get the page that
 * the proxy has for its callers (`sidekey.internal`). Nothing leaves the machine.
 */

/** How a program is asked. */
export interface Probe {
  /** Of `clients/client-table.ts`. */
  readonly client: string;
  /** Told apart where a client is asked in several ways: a library of it. */
  readonly library: string | null;
  readonly program: string;
  /** @param folder that it may write to; `files` are there */
  readonly words: (url: string, folder: string) => readonly string[];
  /** Written before it is asked; name → content. */
  readonly files?: Readonly<Record<string, string>>;
  /** Words with which it succeeds where `library` is there. */
  readonly needs?: readonly string[];
  /**
   * What it says once it has reached the proxy; else it says what the page says. The page is no repository and no
   * registry, and a complaint about that is an answer.
   */
  readonly reached?: RegExp;
  /** Variables besides ours; what it writes goes into the folder. */
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

/** Every probe, in the order in which they are shown. */
export const probes: readonly Probe[] = [
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
    // By its whole address: what the person's own settings say of indexes has no part in it.
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
      // As root it starts in no other way; nothing but our page is loaded.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      `--user-data-dir=${folder}`,
      '--dump-dom',
      url,
    ],
  },
];
