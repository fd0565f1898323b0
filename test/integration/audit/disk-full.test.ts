/**
 * A disk that takes no more, from the system itself and not from a double: the proxy runs under a limit on
 * the size of files (RLIMIT_FSIZE), which an ordinary user may set and lift, and which writes meet as they
 * meet a full disk.
 */
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { markedHome, portsOf } from '../../support/marked-home.ts';
import { openTunnel, problemOf } from '../../support/raw-client.ts';
import { startUpstream } from '../../support/upstream.ts';

/** Sets the greatest size of a file that a process may write, in bytes. */
function limitFiles(pid: number, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`]);
}

const canLimit = (() => {
  try {
    execFileSync('prlimit', ['--version']);
    return process.platform === 'linux';
  } catch {
    return false;
  }
})();

test.skipIf(!canLimit).each([
  ['nothing', 0],
  ['only a part of a line', 100],
])(
  'while the disk accepts %s, requests are refused, and served again as soon as there is space (prlimit)',
  async (_what, room) => {
    let asked = 0;
    const upstream = await startUpstream((_request, response) => response.end(String((asked += 1))));
    const at = await markedHome({
      domains: { [upstream.authority]: { grant: 'acme' } },
      providers: { acme: { audience: [upstream.authority] } },
    });
    await at.grant('acme', { type: 'api_key', value: 'key-0123456789' });
    const running = await at.start();
    const client = await openTunnel(await portsOf(running), upstream.authority);
    const ask = () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    };
    expect(await ask()).toMatchObject({ status: 200, body: '1' });
    // Its outcome is written a moment later.
    const file = at.at('data', 'audit.jsonl');
    const outcomes = () => at.run(['audit', 'query', '--event', 'outcome', '--json']);
    await expect.poll(async () => (await outcomes()).stdout).not.toBe('');

    limitFiles(running.pid, statSync(file).size + room);
    for (let n = 0; n < 3; n += 1) {
      const refused = await ask();
      expect(refused).toMatchObject({ status: 503, reason: 'audit_unavailable' });
      expect(problemOf(refused).hint).toContain('Free space');
    }
    expect(asked).toBe(1);

    limitFiles(running.pid, 'unlimited');
    expect(await ask()).toMatchObject({ status: 200, body: '2' });
    await running.stop();
    // Refused requests are recorded too, and a line that was partly written is not reported as damage.
    const denied = await at.run(['audit', 'query', '--code', 'audit_unavailable', '--json']);
    expect(denied.stdout.trimEnd().split('\n')).toHaveLength(3);
    const verified = await at.run(['audit', 'verify']);
    expect(verified).toMatchObject({ exit: 0, stdout: expect.stringContaining('is intact') as string });
  },
  30_000,
);
