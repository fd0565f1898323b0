/** The real program with several workers on one port: what each of them shares with the others. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { home, leaseCreate, program } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { requestBody } from '../../support/request-body.ts';
import { ask, pollDelay, startTwoWorkers } from '../../support/two-workers.ts';
import { startTokenServer } from '../../support/token-server.ts';
import { startUpstream } from '../../support/upstream.ts';

const timeout = { timeout: 120_000 };

const blockedSupervisor = fileURLToPath(new URL('../../support/blocked-supervisor.ts', import.meta.url));

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

describe('several workers', timeout, () => {
  test('serve on one port, with a single start event and a single stop event', async () => {
    const { at, spread, pids, pid, port, lines, stop } = await startTwoWorkers();
    await spread();
    const told = (await at.json(['status'])) as { proxy: object };
    expect(new Set(pids()).size).toBe(2);
    expect(pids()).not.toContain(pid);
    // With port 0 nobody can know where it is; it is asked for by its port.
    expect(told.proxy).toMatchObject({ health: 'unknown' });
    await writeFile(at.configFile, `version: 1\nproxy: { listen: "127.0.0.1:${port}" }\n`);
    expect(await at.json(['status'])).toMatchObject({ proxy: { health: 'serving', pid, workers: pids() } });
    const { exit, stdout } = await stop();
    expect(exit).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(JSON.parse(stdout)).toMatchObject({ workers: 2 });
    const events = (await lines()).map(({ event }) => event);
    expect(events.filter((event) => event === 'proxy.started')).toHaveLength(1);
    expect(events.filter((event) => event === 'proxy.stopped')).toHaveLength(1);
    expect(await at.run(['audit', 'verify'])).toMatchObject({ exit: 0 });
  });

  test('share rate limits, the end of a lease and config edits', async () => {
    const { at, upstream, spread, lines, configure } = await startTwoWorkers({
      config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' } },
      domain: {
        rules: [
          { methods: ['GET'], paths: ['/spread/**'] },
          { methods: ['GET'], paths: ['/limited'], limits: [{ rate: '7/1d', per: 'rule' }] },
        ],
      },
      async prepare(setup, { authority }) {
        await setup.grant('work', { type: 'api_key', value: 'key-secret-0123456789' }, [
          '--provider',
          'acme',
          '--audience',
          authority,
        ]);
        await setup.run(['agent', 'create', 'ci', '--grant', 'work']);
      },
    });
    const lease = (await at.json(leaseCreate('ci', ['work']))) as { id: string; token: string };
    const login = Buffer.from(`ci:${lease.token}`).toString('base64');
    const clients = await spread([`Proxy-Authorization: Basic ${login}`]);
    const each = [clients.at(-1)!, clients.find(({ node }) => node !== clients.at(-1)!.node)!];
    const statuses = async (path: string) => {
      const answers = [];
      for (const { client } of each) answers.push((await ask(client, upstream, path)).status);
      return answers;
    };

    const limited: number[] = [];
    for (let round = 0; round < 6; round += 1) limited.push(...(await statuses('/limited')));
    expect(limited.filter((status) => status === 200)).toHaveLength(7);
    expect(limited.filter((status) => status === 429)).toHaveLength(5);

    expect(await statuses('/spread/x')).toEqual([200, 200]);
    const proxy = { listen: '127.0.0.1:0', authentication: 'required' };
    const domain = { grant: 'work', rules: [{ methods: ['GET'], paths: ['/other'] }] };
    await configure({ proxy, domains: { [upstream.authority]: domain } });
    expect(await statuses('/spread/x')).toEqual([403, 403]);
    expect(await statuses('/other')).toEqual([200, 200]);

    await at.run(['lease', 'revoke', lease.id]);
    expect(await statuses('/other')).toEqual([403, 403]);
    const reloads = async () => (await lines()).filter(({ event }) => event === 'config.reloaded');
    while ((await reloads()).length === 0) await pollDelay();
    await at.run(['audit', 'verify']);
    expect(await reloads()).toHaveLength(1);
  });

  test('refresh a shared token once', async () => {
    const held = Promise.withResolvers<void>();
    const server = await startTokenServer({ expiresIn: 3_600, onRequest: () => held.promise });
    const { url, lines } = await startTwoWorkers({
      upstream: server,
      config: {
        domains: { [server.authority]: { grant: 'work' } },
        providers: {
          acme: {
            token_endpoint: `${server.url}/token/team`,
            client_id: 'sidekey',
            audience: [server.authority],
          },
        },
      },
      async prepare(setup) {
        const { accessToken, refreshToken } = server.consent('work', { at: 0 });
        await setup.grant('work', {
          access_token: accessToken,
          refresh_token: refreshToken,
          expires_at: Math.round(Date.now() / 1_000) - 60,
        });
      },
    });
    const asking = Array.from({ length: 40 }, () => proxiedGet(url, `${server.url}/api`));
    while (server.requests.length === 0) await pollDelay();
    held.resolve();
    const answers = await Promise.all(asking);
    expect(answers).toEqual(answers.map(() => ({ status: 200, body: 'work.1' })));
    const nodes = async () =>
      new Set((await lines()).filter(({ event }) => event === 'access').map(({ node }) => node)).size;
    // One worker may have accepted all connections: repeat until the other one has needed the token too.
    for (let more = 0; more < 200 && (await nodes()) < 2; more += 1)
      expect(await proxiedGet(url, `${server.url}/api`)).toEqual({ status: 200, body: 'work.1' });
    expect(await nodes()).toBe(2);
    expect(server.requests).toHaveLength(1);
  });

  test('hold requests for approval, and the answer reaches the right worker', async () => {
    const links: string[] = [];
    const chat = await startUpstream((request, response) => {
      void requestBody(request).then((body) => links.push((JSON.parse(body) as { link: string }).link));
      response.end();
    });
    const { at, upstream, spread } = await startTwoWorkers({
      config: {
        admin: { listen: '127.0.0.1:0' },
        approvals: { webhook: { url: `${chat.url}/hook` } },
      },
      domain: { rules: [{ methods: ['DELETE'], outcome: 'approve' }, { methods: ['GET'] }] },
    });
    const clients = await spread();
    for (const { client } of [clients[0]!, clients.at(-1)!]) {
      client.send(`DELETE / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 9\r\n\r\nbody-mark`);
    }
    let waiting: readonly { readonly id: string }[] = [];
    while (waiting.length < 2) {
      ({ waiting } = (await at.json(['approve', '--list'])) as { waiting: typeof waiting });
    }
    // The pages are in another process than the requests.
    while (links.length < 2) await pollDelay();
    for (const link of links)
      while (!(await (await fetch(link)).text()).includes('body-mark')) await pollDelay();
    for (const { id } of waiting) expect(await at.run(['approve', id])).toMatchObject({ exit: 0 });
    expect((await clients[0]!.client.response()).status).toBe(200);
    expect((await clients.at(-1)!.client.response()).status).toBe(200);
  });

  test('report a port in use only once, as a single process does', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const at = await home({ workers: 2, proxy: { listen: `127.0.0.1:${port}` } });
    const { exit, stdout, stderr } = await at.program(['start', '--json']);
    expect(stdout).toBe('');
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'port_in_use' } });
    expect(exit).not.toBe(0);
  });

  test('cannot be started directly', async () => {
    const at = await home();
    expect(await at.program(['start', '--worker'])).toMatchObject({ exit: 2, stdout: '' });
  });

  test('end when their supervisor is killed before it has acknowledged the socket they sent', async () => {
    const at = await home();
    const supervisor = spawn(process.execPath, [blockedSupervisor, program, at.configFile], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void supervisor.kill('SIGKILL'));
    // The worker holds the same pipe, which therefore closes when both have ended.
    const closed = once(supervisor.stdout, 'close');
    const [line] = (await once(supervisor.stdout, 'data')) as [Buffer];
    const { port, pid } = JSON.parse(line.toString()) as { port: number; pid: number };
    onTestFinished(() => endProcess(pid));
    // The first answers may come before the worker says that it serves.
    for (let answers = 0; answers < 20;)
      if ('status' in (await proxiedGet(`http://127.0.0.1:${port}`, 'http://example.com/'))) answers += 1;
    supervisor.kill('SIGKILL');
    supervisor.stdout.resume();
    await closed;
  });
});
