import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startHelpdeskProxy, newTicketRequest, ticketsRequest } from '../support/helpdesk.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { addAgent } from '../support/rights.ts';

/** Every file below a folder, as latin1. */
async function filesBelow(folder: string): Promise<[path: string, text: string, mode: number][]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry): Promise<[string, string, number]> => {
        const path = join(entry.parentPath, entry.name);
        return [path, await readFile(path, 'latin1'), (await stat(path)).mode & 0o777];
      }),
  );
}

describe('the files that Sidekey writes', () => {
  test('contain no token, secret, query or body', async () => {
    const setup = await startHelpdeskProxy({ expiresIn: -1 });
    const { helpdesk, authority, sidekey, client, tokens } = setup;
    const agentToken = 'agent-token-that-nobody-may-find';
    await addAgent(sidekey.proxy.state.store, 'robot', agentToken);
    const agent = await client();
    const ask = async (request: string) => {
      agent.send(request);
      return agent.response();
    };
    // A refresh, a good request, a 401 with a replay, a refused one, a failed one.
    expect(await ask(ticketsRequest(authority))).toMatchObject({ status: 200 });
    helpdesk.revokeAllAccessTokens();
    expect((await ask(newTicketRequest(authority))).status).toBeLessThan(500);
    await ask(`GET /tickets?q=query-that-nobody-may-find HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    await ask(
      `GET /nowhere?query-that-nobody-may-find HTTP/1.1\r\nHost: ${authority}\r\nAuthorization: Bearer placeholder-of-the-agent\r\n\r\n`,
    );
    const outside = await openClient(sidekey);
    const userInfo = Buffer.from(`robot:${agentToken}`).toString('base64');
    outside.send(
      `GET https://other.test/?query-that-nobody-may-find HTTP/1.1\r\nHost: other.test\r\nProxy-Authorization: Basic ${userInfo}\r\n\r\n`,
    );
    expect(await outside.response()).toMatchObject({ status: 403 });
    const wrong = Buffer.from('robot:wrong-token-that-nobody-may-find').toString('base64');
    await expect(
      openTunnel(sidekey, authority, { fields: [`Proxy-Authorization: Basic ${wrong}`] }),
    ).rejects.toThrow('407');
    await helpdesk.close();
    expect((await ask(ticketsRequest(authority))).status).toBe(502);
    const opened = await sidekey.proxy.state.grants.open(setup.grant.id);
    await sidekey.proxy.close();

    const credential = opened?.sealed.credential;
    const stored = credential?.type === 'oauth2' ? [credential.accessToken, credential.refreshToken] : [];
    const bearers = tokens.map((field) => field.replace('Bearer ', ''));
    const secrets = [
      ...new Set([...bearers, ...stored]),
      helpdesk.clientSecret,
      agentToken,
      userInfo,
      wrong,
      'wrong-token-that-nobody-may-find',
      'placeholder-of-the-agent',
      'query-that-nobody-may-find',
      'Broken chair',
    ].filter((secret) => typeof secret === 'string' && secret !== '') as string[];
    expect(secrets.length).toBeGreaterThan(9);

    const places = [['the log', sidekey.logged()] as const, ...(await filesBelow(sidekey.folder))];
    const found = places.flatMap(([place, text]) =>
      secrets.filter((secret) => text.includes(secret)).map((secret) => `${secret} in ${place}`),
    );
    expect(found).toEqual([]);
    expect(places.some(([place]) => place.endsWith('audit.jsonl'))).toBe(true);
    expect(places.some(([place]) => place.endsWith('sidekey.db'))).toBe(true);
  });

  test('are readable by the owner only', async () => {
    const { sidekey } = await startHelpdeskProxy({ expiresIn: 60 });
    const files = await filesBelow(join(sidekey.folder, 'data'));
    expect(files.length).toBeGreaterThan(2);
    expect(files.filter(([, , mode]) => (mode & 0o077) !== 0)).toEqual([]);
  });
});
