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
