/**
 * A source can run a program. Whoever may set one runs programs as the proxy: that is the operator at the
 * command line, and neither somebody who writes to the database nor a caller of the API.
 */
import { existsSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { anyone, placeholderCodes, plainForm } from '../../src/proxy/placeholders/codes.ts';
import { routes } from '../../src/api/routes.ts';
import type { SourceCredential } from '../../src/domain/credential.ts';
import { writeSealed } from '../../src/grants/sealed-text.ts';
import { openTunnel } from '../support/raw-client.ts';
import { startService } from '../support/service.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const sourceOf = (from: string): SourceCredential => ({ type: 'source', from, form: null, ttlMs: null });

/** A proxy, an API that repeats what it gets, and a program that leaves a mark. */
async function place(domain: object = {}) {
  const asked: string[] = [];
  const upstream = await startUpstream((request, response) => {
    asked.push(`${request.headers.authorization} ${request.url}`);
    response.end(JSON.stringify(request.headers));
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', ...domain } },
    config: { providers: { acme: { audience: [upstream.authority], placeholders: ['query'] } } },
  });
  const ran = join(sidekey.folder, 'ran');
  const program = join(sidekey.folder, 'helper');
  await writeFile(program, `#!/bin/sh\necho >> '${ran}'\necho ${bearerToken}\n`);
  await chmod(program, 0o700);
  return {
    sidekey,
    upstream,
    asked,
    source: sourceOf(`command:${program}`),
    hasRun: () => existsSync(ran),
    get: async (target = '/a') => {
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`GET ${target} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    },
    /** Writes to the database as somebody without the key. */
    meddle: (sql: string, ...values: SQLInputValue[]) => {
      const database = new DatabaseSync(join(sidekey.folder, 'data', 'sidekey.db'));
      database.prepare(sql).run(...values);
      database.close();
    },
  };
}

describe('an attacker with write access to the database and without the key', () => {
  test('cannot turn a stored key into a program', async () => {
    const { sidekey, upstream, source, meddle, get, hasRun } = await place();
    const { id } = await sidekey.grant([upstream.authority]);
    const sealed = writeSealed({ credential: source, audience: [upstream.authority] });
    meddle("update grants set sealed = ?, type = 'source' where id = ?", Buffer.from(sealed), id);
    expect(await get()).not.toMatchObject({ status: 200 });
    expect(hasRun()).toBe(false);
  });

  test('cannot run the program of one grant for another', async () => {
    const { sidekey, upstream, source, meddle, get, hasRun } = await place();
    const { id } = await sidekey.grant([upstream.authority]);
    const other = await sidekey.grant(['other.test'], {
      name: 'other',
      provider: 'other',
      credential: source,
    });
    meddle(
      "update grants set type = 'source', sealed = (select sealed from grants where id = ?) where id = ?",
      other.id,
      id,
    );
    expect(await get()).not.toMatchObject({ status: 200 });
    expect(hasRun()).toBe(false);
  });

  test.each(['api_key', 'source'] as const)(
    'cannot change the credential with the column type: %s',
    async (stored) => {
      const { sidekey, upstream, source, meddle, get, hasRun } = await place();
      const credential = stored === 'source' ? { credential: source } : {};
      const { id } = await sidekey.grant([upstream.authority], credential);
      meddle('update grants set type = ? where id = ?', stored === 'source' ? 'api_key' : 'source', id);
      expect(await get()).toMatchObject({ status: 200 });
      expect(hasRun()).toBe(stored === 'source');
    },
  );
});

describe('a caller of the API', () => {
  test('cannot set a source', async () => {
    const { call, sidekey } = await startService();
    const mark = join(sidekey.folder, 'ran');
    const from = `command:touch ${mark}`;
    const credentials = [
      { type: 'source', from, form: null, ttlMs: null },
      { from },
      { value: 'key', from },
      { type: 'source', value: from },
    ];
    for (const credential of credentials) {
      const body = { name: 'github', provider: 'github', credential, verify: false };
      const { status, body: answer } = await call('POST /v2/grants', { body });
      expect([status, answer.code]).toEqual([400, 'input_invalid']);
    }
    await sidekey.grant(['api.github.com'], { name: 'github', provider: 'github' });
    for (const body of [{ source: from }, { from }, { type: 'source' }]) {
      expect((await call('PATCH /v2/grants/github', { body })).status).toBe(400);
    }
    expect((await call('GET /v2/grants/github')).body).toMatchObject({ type: 'api_key', source: null });
    expect(existsSync(mark)).toBe(false);
  });

  test('cannot run a command that sets a source', () => {
    const commands = routes.flatMap((route) => ('commands' in route ? (route.commands as string[]) : []));
    expect(commands).toContain('grant import');
    expect(commands.filter((name) => /^connect|source/.test(name))).toEqual([]);
  });
});

describe('the value of a source', () => {
  test('appears in no response, log or audit record', async () => {
    const { sidekey, upstream, source, get, asked } = await place({ leak_guard: 'redact' });
    await sidekey.grant([upstream.authority], { credential: source });
    const { status, body } = await get();
    expect(status).toBe(200);
    expect(asked).toEqual([`Bearer ${bearerToken} /a`]);
    expect(body).not.toContain(bearerToken);
    const refreshed = await sidekey.audited(({ event }) => event === 'grant.refreshed');
    expect(refreshed).toMatchObject({
      outcome: 'ok',
      reason: expect.stringMatching(/^from the source command:\//),
    });
    const access = await sidekey.audited(({ event }) => event === 'access');
    expect(access.credential).toMatch(/^[0-9a-f]{16}$/);
    expect(JSON.stringify(await sidekey.audit()) + sidekey.logged()).not.toContain(bearerToken);
  });

  test('replaces placeholders', async () => {
    const { sidekey, upstream, source, get, asked } = await place();
    const { id } = await sidekey.grant([upstream.authority], { credential: source });
    const placeholder = placeholderCodes(sidekey.proxy.state.vault).make(plainForm, anyone, id);
    expect(await get(`/a?key=${placeholder}`)).toMatchObject({ status: 200 });
    expect(asked).toEqual([`Bearer ${bearerToken} /a?key=${bearerToken}`]);
  });

  test('is sent to no host outside the audience of the grant', async () => {
    const { sidekey, source, get, asked } = await place();
    await sidekey.grant(['other.test'], { credential: source });
    expect(await get()).toMatchObject({ status: 403 });
    expect(asked).toEqual([]);
  });
});
