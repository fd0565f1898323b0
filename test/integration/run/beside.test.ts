import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { curlMissing } from '../../support/curl.ts';
import { deskToken, runHome, withoutConfinement } from '../../support/run-command.ts';

describe.skipIf(curlMissing)('sidekey run beside other Sidekey processes (curl)', () => {
  test('works several times at once on one store, each with its own lease and summary', async () => {
    const place = await runHome();
    // The first runs of all: each would make what is missing.
    await rm(place.at.at('certs'), { recursive: true, force: true });
    const ask = (count: number) =>
      `for i in $(seq ${count}); do curl -sS -f -o /dev/null ${place.upstream.url}/ || exit 9; done`;
    const ran = await Promise.all([1, 2, 3].map((count) => place.run(['--', 'sh', '-c', ask(count)])));
    expect(ran.map(({ exit, stderr }) => [exit, withoutConfinement(stderr)])).toEqual([
      [0, 'sidekey: 1 request with a credential\n'],
      [0, 'sidekey: 2 requests with a credential\n'],
      [0, 'sidekey: 3 requests with a credential\n'],
    ]);
    expect(await place.events('lease.created')).toHaveLength(3);
    expect(await place.at.json(['lease', 'list'])).toEqual([]);
    expect(await place.at.run(['audit', 'verify'])).toMatchObject({ exit: 0 });
  });

  test('goes through a proxy that is already running', async () => {
    const proxy = { listen: '127.0.0.1:0', unmatched: 'deny' };
    const place = await runHome(undefined, () => ({ proxy }));
    const { url } = await place.at.start();
    const ask = [
      'sh',
      '-c',
      `curl -sS ${place.upstream.url}/; curl -s -o /dev/null https://nowhere.test/; exit 0`,
    ];
    const ran = await place.run(['--proxy', url, '--', ...ask]);
    expect(ran).toMatchObject({ exit: 0, stdout: 'hello' });
    expect(withoutConfinement(ran.stderr)).toBe(
      'sidekey: 1 request with a credential, 1 refused\n  nowhere.test domain_not_allowed → sidekey domain tunnel nowhere.test (no credential), or sidekey domain allow nowhere.test --grant GRANT; an agent proposes it: POST http://sidekey.internal/proposals\n',
    );
    expect(place.seen).toEqual([`Bearer ${deskToken}`]);
    expect(await place.at.json(['lease', 'list'])).toEqual([]);

    const agent = (await place.at.json(['agent', 'create', 'ci', '--grant', 'desk'])) as { token: string };
    const own = url.replace('//', `//ci:${agent.token}@`);
    const withToken = await place.run(['--proxy', 'env:OWN', '--', ...ask], { env: { OWN: own } });
    expect(withToken).toMatchObject({ exit: 0, stdout: 'hello' });
    expect(withoutConfinement(withToken.stderr)).toBe('');
    expect((await place.events('access')).at(-1)).toMatchObject({ agent: 'ci' });
    for (const args of [
      ['--proxy', own],
      ['--proxy', url, '--unmatched', 'deny'],
      ['--proxy', 'env:OWN', '--ttl', '1h'],
      ['--proxy', 'nonsense'],
    ]) {
      const refused = await place.run([...args, '--', 'echo', 'began'], { env: { OWN: own } });
      expect(refused).toMatchObject({ exit: 2, stdout: '' });
      expect(refused.stderr).not.toContain(agent.token);
    }
  });

  test('does not start the program if the proxy does not respond', async () => {
    const { run } = await runHome();
    const server = createServer();
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
    });
    await new Promise((resolve) => server.close(resolve));
    expect(await run(['--proxy', `http://127.0.0.1:${port}`, '--', 'echo', 'began'])).toMatchObject({
      exit: 6,
      stdout: '',
      stderr: expect.stringContaining(`No proxy answers at http://127.0.0.1:${port}`),
    });
  });
});
