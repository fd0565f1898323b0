import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Home } from '../../support/command-line.ts';
import { postgresMissing } from '../../support/postgres.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { createTeam, until } from '../../support/team.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const secret = 'key-secret-0123456789';

/** Three nodes: the first has the master key, and runs. */
async function startTeam() {
  const upstream = await startUpstream((request, response) => {
    response.end(String(request.headers.authorization?.includes(secret) ?? false));
  });
  const team = await createTeam();
  const make = async (source: string) => {
    const at = await team.node({
      key: { source },
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
      domains: { [upstream.authority]: { grant: 'work' } },
    });
    await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
    return at;
  };
  const first = await make('file');
  const credential = { type: 'api_key', value: secret };
  await first.grant('work', credential, ['--provider', 'acme', '--audience', upstream.authority]);
  const served = await first.start();
  return { team, make, first, served, url: `https://${upstream.authority}/` };
}

async function enrolled(first: Home, name: string): Promise<string> {
  const { exit, stdout, stderr } = await first.run(['node', 'enroll', name]);
  expect([exit, stderr]).toEqual([0, expect.stringContaining('sidekey node join')]);
  return stdout.trim();
}

interface Listed {
  readonly name: string;
  readonly source: string;
  readonly key_id: string;
}

describe.skipIf(postgresMissing !== null)(
  `a node that joins with an enrolment token and its own key${postgresMissing ?? ''}`,
  () => {
    it(
      'serves, follows a rotation after being off, and is revoked within a second',
      { timeout: 180_000 },
      async () => {
        const { team, make, first, url } = await startTeam();
        const [second, third] = [await make('node'), await make('node')];
        expect((await second.run(['agent', 'create', 'x'])).stderr).toContain('has not joined');

        const token = await enrolled(first, 'proxy-b');
        const inArguments = await second.program(['node', 'join', '--token', token]);
        expect([inArguments.exit, inArguments.stderr.includes(token)]).toEqual([2, false]);
        const joined = await second.program(['node', 'join'], { input: `${token}\n` });
        expect([joined.exit, joined.stdout]).toEqual([0, expect.stringContaining('is the node proxy-b')]);
        expect((await third.program(['node', 'join'], { input: token })).stderr).toContain(
          'not valid any more',
        );
        const other = await enrolled(first, 'proxy-c');
        const byReference = await third.program(['node', 'join', '--token', 'env:TOKEN'], {
          env: { TOKEN: other },
        });
        expect([byReference.exit, byReference.stderr]).toEqual([0, expect.any(String)]);
        for (const at of [second, third]) {
          expect((await stat(at.at('data', 'node.key'))).mode & 0o777).toBe(0o600);
          expect(existsSync(at.at('data', 'master.key'))).toBe(false);
        }
        const dump = JSON.stringify((await team.query('select * from enrolments')).rows);
        expect(dump).not.toContain(token);

        const running = await second.start();
        expect(await proxiedGet(running.url, url)).toEqual({ status: 200, body: 'true' });
        const nodes = (await first.json(['node', 'list'])) as readonly Listed[];
        expect(nodes.slice(0, 2).map(({ name, source }) => `${name} ${source}`)).toEqual([
          'proxy-b node',
          'proxy-c node',
        ]);

        // The third one is off, and is not waited for.
        const rotated = await first.run(['key', 'rotate']);
        expect(rotated.stdout).toContain('is retired');
        expect(rotated.stdout).toContain('nodes with a key of their own: proxy-b, proxy-c.');
        const current = ((await first.json(['node', 'list'])) as readonly Listed[]).find(
          ({ source }) => source === 'file',
        )?.key_id;
        await until(
          async () => (await first.json(['node', 'list'])) as readonly Listed[],
          (list) => list.find(({ name }) => name === 'proxy-b')?.key_id === current,
        );
        expect(await proxiedGet(running.url, url)).toEqual({ status: 200, body: 'true' });
        const late = await third.start();
        expect(await proxiedGet(late.url, url)).toEqual({ status: 200, body: 'true' });

        const revoked = await first.run(['node', 'revoke', 'proxy-b']);
        expect([revoked.exit, revoked.stdout]).toEqual([0, expect.stringContaining('sidekey key rotate')]);
        await delay(1_000);
        expect(await proxiedGet(running.url, url)).toMatchObject({
          status: 503,
          body: expect.stringContaining('node_revoked') as string,
        });
        expect((await fetch(`${running.url}/readyz`)).status).toBe(503);
        await running.stop();
        expect((await second.program(['agent', 'create', 'y'])).stderr).toContain('This node was revoked');
        expect(await proxiedGet(late.url, url)).toEqual({ status: 200, body: 'true' });
        expect((await first.json(['key', 'rotate'])) as object).toMatchObject({ finished: true });
        expect(await proxiedGet(late.url, url)).toEqual({ status: 200, body: 'true' });

        const events = (await readFile(first.at('data', 'audit.jsonl'), 'utf8')).match(/"node\.\w+"/g);
        expect(new Set(events)).toEqual(new Set(['"node.enrolled"', '"node.joined"', '"node.revoked"']));
        // A revoked node may join again with another token, and makes another key.
        const back = await second.program(['node', 'join'], { input: await enrolled(first, 'proxy-b') });
        expect([back.exit, back.stdout]).toEqual([0, expect.stringContaining('is the node proxy-b')]);
      },
    );

    it(
      'can be revoked by the name of its enrolment, even if the list of nodes has that name for another node or was lost',
      { timeout: 180_000 },
      async () => {
        const { team, make, first } = await startTeam();
        const second = await make('node');
        const joined = await second.program(['node', 'join'], { input: await enrolled(first, 'proxy-b') });
        expect([joined.exit, joined.stderr]).toEqual([0, expect.any(String)]);
        // A copied store has no list of nodes.
        await team.query('delete from nodes');
        expect((await first.run(['agent', 'create', 'a'])).exit).toBe(0);
        expect(await first.json(['node', 'list'])).toContainEqual(
          expect.objectContaining({ name: 'proxy-b', source: 'node' }),
        );
        await team.query("update nodes set name = 'proxy-b-2' where source = 'node'");
        await team.query("update nodes set name = 'proxy-b' where source = 'file'");
        expect((await first.run(['node', 'revoke', 'proxy-b-2'])).exit).not.toBe(0);
        expect((await second.program(['agent', 'create', 'b'])).exit).toBe(0);
        expect((await first.run(['node', 'revoke', 'proxy-b'])).exit).toBe(0);
        expect((await second.program(['agent', 'create', 'c'])).stderr).toContain('This node was revoked');
      },
    );

    it(
      'cannot revoke itself, and nodes exist only with a store in PostgreSQL',
      { timeout: 180_000 },
      async () => {
        const { make, first } = await startTeam();
        const [own] = (await first.json(['node', 'list'])) as readonly Listed[];
        expect((await first.run(['node', 'revoke', own!.name])).stderr).toContain('runs on that node');
        expect((await first.run(['node', 'revoke', 'nobody'])).exit).not.toBe(0);
        const file = await make('file');
        await writeFile(file.configFile, 'version: 1\n');
        expect((await file.run(['node', 'enroll', 'b'])).stderr).toContain('share a store in PostgreSQL');
        expect((await file.run(['node', 'list'])).stdout).toContain('There are no nodes');
      },
    );
  },
);
