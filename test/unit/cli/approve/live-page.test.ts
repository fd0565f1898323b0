import { describe, expect, it } from 'vitest';
import type { Approval } from '../../../../src/domain/approval.ts';
import { emptyList, type LiveList, livePage, update } from '../../../../src/cli/approve/live.ts';
import { question } from '../../../support/question.ts';

const time = 1_700_000_000_000;
const size = { columns: 80, rows: 24 };
const entry = (id: string, fields: Partial<Approval> = {}): Approval => ({
  ...question({ who: { grantId: 'grant', agent: 'ci' } }),
  answer: null,
  ...fields,
  id,
});
const listOf = (...entries: readonly Approval[]): LiveList => update(emptyList, entries, time);

describe('the page of the live list', () => {
  it('shows all facts of the selected request, and the effect of each answer', () => {
    const who = { grantId: 'grant', agent: 'ci', lease: '7b1d2d5c-0000', ruleKey: 'rule' };
    const first = entry('aaaa0000', { who, purpose: 'nightly', reason: 'a duplicate', ruleName: 'deletes' });
    const page = livePage(listOf(first, entry('bbbb0000')), time, size);
    expect(page).toMatchObject({ bold: 2, shown: 'aaaa0000' });
    expect(page.lines).toEqual([
      '2 requests wait for you',
      '',
      '> aaaa0000   3:00  ci  DELETE https://api.github.com/repos/acme/x',
      '  bbbb0000   3:00  ci  DELETE https://api.github.com/repos/acme/x',
      '',
      'aaaa0000 waits 3:00 more',
      '  request  DELETE https://api.github.com/repos/acme/x',
      '  agent    ci, at 127.0.0.1:4711',
      '  lease    7b1d2d5c "nightly"',
      '  grant    github (github)',
      '  reason   "a duplicate"',
      '  rule     config/sidekey.yaml:12 (deletes)',
      '',
      '  y  Yes, once: This request goes on, and no other.',
      '  n  No: It is refused; the next one asks again.',
      '  l  Yes, for the lease: It goes on, and all like it until the lease ends.',
      '  t  Yes, for a time: It goes on, and all like it for the time that you type.',
      '  Requests like it have the same rule, agent, lease, account and header fields.',
      '  up, down  choose another      q  leave',
    ]);
    expect([...(page.colors ?? [])].map(([index, color]) => [page.lines[index]?.slice(0, 4), color])).toEqual(
      [
        ['  y ', 'green'],
        ['  n ', 'red'],
        ['  l ', 'green'],
        ['  t ', 'green'],
      ],
    );
  });

  it('shows the query, and says that a body exists and is not shown', () => {
    const { lines } = livePage(listOf({ ...entry('aaaa0000'), query: 'a=b', bodyBytes: 5_000 }), time, size);
    const at = lines.indexOf('  request  DELETE https://api.github.com/repos/acme/x?a=b');
    expect(lines[at + 1]).toBe('  with     5,000 bytes of body, which is not shown');
  });

  it('offers an approval for the lease only if the request has a lease, and shows the scope while a duration is entered', () => {
    const list = listOf(entry('aaaa0000'));
    const { lines } = livePage(list, time, size);
    expect(lines.filter((line) => /^ {2}[ylt] /.test(line))).toEqual([
      '  y  Yes, once: This request goes on, and no other.',
      '  t  Yes, for a time: It goes on, and all like it for the time that you type.',
    ]);
    const asking = livePage({ ...list, asking: { id: 'aaaa0000', span: '' } }, time, size).lines.join('\n');
    expect(asking).toContain('Yes, to all that the rule matches of ci with the grant github and the same');
    expect(asking).toContain('For how long? (15m) _');
    const typed = livePage({ ...list, asking: { id: 'aaaa0000', span: '2h' } }, time, size).lines.join('\n');
    expect(typed).toContain('For how long? 2h_');
  });

  it('keeps the selected request visible in a list of any length', () => {
    const entries = Array.from({ length: 50 }, (_, index) =>
      entry(`aaaa00${String(index).padStart(2, '0')}`),
    );
    for (const { id } of entries) {
      const page = livePage({ ...listOf(...entries), selected: id }, time, size);
      expect(page.lines).toHaveLength(size.rows);
      expect(page.lines[0]).toMatch(/^50 requests wait for you \(\d+ to \d+ are listed\)$/);
      expect(page.lines[page.bold ?? -1]).toMatch(new RegExp(`^> ${id}`));
      expect(page.shown).toBe(id);
    }
  });

  it('omits the full request when the window is too small', () => {
    const page = livePage(listOf(entry('aaaa0000')), time, { columns: 80, rows: 10 });
    expect(page).toMatchObject({ shown: null });
    expect(page.lines).toEqual(['1 waiting. Make the window larger to answer (q leaves).']);
  });

  it('shows what to expect when the list is empty', () => {
    const page = livePage({ ...emptyList, note: 'Denied x.' }, time, size);
    expect(page).toMatchObject({ shown: null });
    expect(page.lines[0]).toBe('No requests waiting.');
    expect(page.lines.at(-1)).toBe('Denied x.');
  });
});
