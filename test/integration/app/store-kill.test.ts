import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { DatabaseSync } from 'node:sqlite';
import { pragma } from '../../../src/lib/sqlite.ts';
import { describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const writer = fileURLToPath(new URL('../../support/store-writer.ts', import.meta.url));

/**
 * Lets a process write, kills it after so many acknowledged revisions, and answers all that it acknowledged.
 */
async function writeUntilKilled(path: string, id: string, revisions: number): Promise<number[]> {
  const child = spawn(process.execPath, [writer, path, id], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const acknowledged: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(Number(line));
    if (acknowledged.length === revisions) child.kill('SIGKILL');
  }
  const [, signal]: unknown[] = await ended;
  expect([complaint, signal]).toEqual(['', 'SIGKILL']);
  return acknowledged;
}

describe('a process that is killed during writes', () => {
  it('leaves a consistent store with every acknowledged write', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const record = grantRecord();
    const first = await openSqliteStore(path, { now: () => 0 });
    await first.grants.insert(record);
    await first.close();

    const acknowledged: number[] = [];
    for (let kill = 0; kill < 6; kill += 1) {
      acknowledged.push(...(await writeUntilKilled(path, record.id, randomInt(1, 150))));

      const store = await openSqliteStore(path, { now: () => 0 });
      const grant = await store.grants.get(record.id);
      const revision = grant?.revision ?? 0;
      expect(revision).toBeGreaterThanOrEqual(acknowledged.at(-1) ?? 0);
      expect(Buffer.alloc(10_000, `${revision} `).equals(grant?.sealed ?? Buffer.alloc(0))).toBe(true);
      const agents = (await store.agents.list()).map((agent) => agent.name);
      expect(acknowledged.filter((acked) => !agents.includes(`revision-${acked}`))).toEqual([]);
      // An agent is there with all that it began with, or not at all.
      for (const rights of [await store.agentTokens.list(), await store.bindings.list()])
        expect(rights.map(({ agent }) => agent).toSorted()).toEqual(agents);
      await store.close();
    }

    const database = new DatabaseSync(path, { readOnly: true });
    expect(pragma(database, 'integrity_check')).toBe('ok');
    database.close();
  });
});
