import { execFile } from 'node:child_process';

/** The result of curl. */
export interface CurlAnswer {
  /** The HTTP status of the last response; 0: none. */
  readonly status: number;
  /** The status of the CONNECT; 0: none. */
  readonly connectStatus: number;
  readonly body: string;
  /** All received response heads as text. */
  readonly head: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** True when there is a curl on this machine. */
export const curlMissing = await run(['--version']).then(
  (answer) => (answer.exitCode === 0 ? false : 'curl is not installed'),
  () => 'curl is not installed',
);

/** Runs the real curl without its config file and without the proxy settings of this process. */
export async function curl(...options: string[]): Promise<CurlAnswer> {
  const marker = '\n--curl-facts--';
  const answer = await run([
    '--disable',
    '--silent',
    '--show-error',
    '--max-time',
    '15',
    '--include',
    '--write-out',
    `${marker}%{http_code} %{http_connect}`,
    ...options,
  ]);
  const [received = '', facts = ''] = answer.stdout.split(marker);
  const [status = 0, connectStatus = 0] = facts.split(' ').map(Number);
  let body = received;
  while (/^HTTP\/[0-9.]+ [0-9]{3}/.test(body)) {
    const end = body.indexOf('\r\n\r\n');
    if (end < 0) break;
    body = body.slice(end + 4);
  }
  const head = received.slice(0, received.length - body.length);
  return { status, connectStatus, head, body, stderr: answer.stderr, exitCode: answer.exitCode };
}

/**
 * Gets URLs one after the other in one process. Returns for each the status and the body, or `curl N`, its
 * error.
 */
export async function curlEach(
  urls: readonly (readonly [url: string, ...options: string[]])[],
  options: readonly string[],
): Promise<string[]> {
  const end = '\n--curl-end--';
  const each = [
    '--silent',
    '--insecure',
    '--max-time',
    '10',
    '--write-out',
    `${end}%{exitcode} %{http_code}${end}`,
  ];
  const results: string[] = [];
  while (results.length < urls.length) {
    const { stdout, exitCode } = await run([
      '--disable',
      ...urls
        .slice(results.length)
        .flatMap((url, index) => [...(index === 0 ? [] : ['--next']), ...each, ...options, ...url]),
    ]);
    const parts = stdout.split(end);
    for (let i = 0; i + 1 < parts.length; i += 2) {
      const [code, status] = parts[i + 1]!.split(' ');
      results.push(code === '0' ? `${status} ${parts[i]}` : `curl ${code}`);
    }
    // After some errors, curl does not go on to the next URL.
    if (results.length < urls.length && parts.at(-2)?.startsWith(`${exitCode} `) !== true)
      results.push(`curl ${exitCode}`);
  }
  return results;
}

function run(args: readonly string[]): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  return new Promise((resolve, reject) => {
    execFile(
      'curl',
      args,
      {
        env: { PATH: process.env['PATH'], HOME: '/nonexistent' },
        maxBuffer: 64 * 1024 * 1024,
        encoding: 'latin1',
      },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') reject(new Error(stderr, { cause: error }));
        else resolve({ stdout, stderr, exitCode: typeof error?.code === 'number' ? error.code : 0 });
      },
    );
  });
}
