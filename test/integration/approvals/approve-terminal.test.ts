import { userInfo } from 'node:os';
import { describe, expect, test } from 'vitest';
import { program, type Home } from '../../support/command-line.ts';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { homeWithApprovals } from '../../support/waiting-requests.ts';

const live = (at: Home, ...args: readonly string[]) =>
  runInTerminal([process.execPath, program, 'approve', ...args, '--config', at.configFile], {
    cwd: at.folder,
  });

/** The page of before, the cursor, and lines that go on. */
const restored = '\u001b[?7h\u001b[?25h\u001b[?1049l';

describe.skipIf(!hasPseudoTerminal)('sidekey approve in a terminal (needs script of util-linux)', () => {
  test('shows held requests, accepts an answer by key, and restores the terminal', async () => {
    const { at, store, ask, events } = await homeWithApprovals();
    const list = live(at);
    await list.until((screen) => screen.includes('No requests waiting.'));
    const { id } = await ask({ reason: 'a duplicate' });
    await list.until((screen) => screen.includes(`> ${id}`));
    // The first presses may come too soon after the request, and are asked for again as the page changes.
    let presses = 0;
    await list.until((screen) => {
      if (screen.includes(`Allowed ${id}`)) return true;
      presses += 1;
      list.type('y');
      return false;
    });
    expect(presses).toBeGreaterThan(0);
    expect((await store.approvals.get(id))?.answer).toMatchObject({
      outcome: 'allowed',
      by: `${userInfo().username} in a terminal`,
      reach: { kind: 'once' },
    });
    list.type('q');
    const { exit, before, after } = await list.ended;
    expect(exit).toBe(0);
    expect(before).not.toBe('');
    expect(after).toBe(before);
    // The previous page shows the result again.
    const [, ofBefore = ''] = list.screen().split(restored);
    expect(ofBefore).toContain(`Allowed ${id}: this request only.`);
    expect(await events()).toEqual([
      expect.objectContaining({
        event: 'approval.allowed',
        reason: `${userInfo().username} in a terminal, once`,
      }),
    ]);
  });

  test.each(['SIGTERM', 'SIGINT', 'Ctrl-C'] as const)('restores the terminal at %s', async (how) => {
    const { at, store, ask } = await homeWithApprovals();
    const { id } = await ask();
    const list = live(at);
    await list.until((screen) => screen.includes(`> ${id}`));
    if (how === 'Ctrl-C') list.type('\u0003');
    else list.signal(how);
    const { exit, before, after } = await list.ended;
    expect({ exit, after }).toEqual({ exit: 0, after: before });
    expect(list.screen()).toContain(restored);
    expect((await store.approvals.get(id))?.answer).toBeNull();
  });

  test('restores the terminal if the store is gone', async () => {
    const { at, store } = await homeWithApprovals();
    const list = live(at);
    await list.until((screen) => screen.includes('No requests waiting.'));
    const { DatabaseSync } = await import('node:sqlite');
    const database = new DatabaseSync(store.location);
    database.exec('drop table questions');
    database.close();
    const { exit, before, after } = await list.ended;
    expect({ exit, after }).toEqual({ exit: 1, after: before });
    const [, ofBefore = ''] = list.screen().split(restored);
    expect(ofBefore).toContain('is damaged');
  });

  test('prints the list with --list and without a terminal', async () => {
    const { at, ask } = await homeWithApprovals();
    const { id } = await ask();
    const printed = live(at, '--list');
    const { exit } = await printed.ended;
    expect(exit).toBe(0);
    expect(printed.screen()).toContain(`sidekey approve ${id} --deny`);
    expect(printed.screen()).not.toContain('\u001b[?1049h');
  });
});
