import { userInfo } from 'node:os';
import { expect, test } from 'vitest';
import { createApprovalLinks } from '../../../src/agents/approvals/announce.ts';
import { makeSignInLink } from '../../../src/operations/sign-in-link.ts';
import { program, runProgram } from '../../support/command-line.ts';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { startService, type TestService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';

const once = { answer: 'once' };

async function inDashboard({ call, sidekey, url }: TestService, id: string): Promise<void> {
  await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
  const own = { origin: url, 'sec-fetch-site': 'same-origin' };
  const { session } = (await call(`POST ${path}`, { key: null, headers: own })).body;
  const headers = { ...own, authorization: `Bearer ${session}` };
  await call(`POST /v2/approvals/${id}`, { key: null, headers, body: once });
}

async function withKey({ call, key }: TestService, id: string): Promise<void> {
  await call(`POST /v2/approvals/${id}`, { key: await key({ name: 'desk' }), body: once });
}

async function byLink({ call, sidekey }: TestService, id: string): Promise<void> {
  const { store, vault } = sidekey.proxy.state;
  const asked = await store.approvals.get(id);
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  await call(`POST ${createApprovalLinks(vault).pathFor(asked!)}`, {
    key: null,
    headers,
    body: 'answer=once',
  });
}

async function atCommandLine({ sidekey }: TestService, id: string): Promise<void> {
  await runProgram(['approve', id, '--config', sidekey.configFile], sidekey.folder);
}

async function inTerminal({ sidekey }: TestService, id: string): Promise<void> {
  const command = [process.execPath, program, 'approve', '--config', sidekey.configFile];
  const list = runInTerminal(command, { cwd: sidekey.folder });
  await list.until((screen) => {
    if (screen.includes(`Allowed ${id}`)) return true;
    if (screen.includes(`> ${id}`)) list.type('y');
    return false;
  });
  list.type('q');
  await list.ended;
}

const me = userInfo().username;

test.each([
  ['the dashboard', inDashboard, 'alice in the dashboard'],
  ['the API', withKey, 'key desk by the API'],
  ['the link of a chat message', byLink, 'the link, from 127.0.0.1:PORT'],
  ['the command line', atCommandLine, `${me} at the command line`],
  ...(hasPseudoTerminal ? [['a terminal', inTerminal, `${me} in a terminal`] as const] : []),
] as const)(
  'the history and the audit log name the author of an answer from %s',
  async (_place, answer, by) => {
    const { authority } = await startUpstream((_request, response) => void response.end('done'));
    const service = await startService({ domains: { [authority]: { grant: 'acme', default: 'approve' } } });
    const { call, sidekey } = service;
    await sidekey.grant([authority]);
    const sent = call('POST /v2/requests', {
      body: { url: `https://${authority}/tickets/7`, grant: 'acme' },
    });
    const waiting = async () => (await call('GET /v2/approvals')).body.data[0]?.id as string | undefined;
    await expect.poll(waiting, { timeout: 20_000 }).toBeDefined();
    const id = await waiting();
    await answer(service, id!);
    expect((await sent).body.status).toBe(200);
    const stored = (await call(`GET /v2/approvals/${id}`)).body.answer.by as string;
    expect(stored.replace(/:\d+$/, ':PORT')).toBe(by);
    const line = (await sidekey.audit()).find(({ event }) => event === 'approval.allowed');
    expect(line?.reason).toBe(`${stored}, once`);
  },
);
