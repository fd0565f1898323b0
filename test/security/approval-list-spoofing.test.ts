/** An agent that chooses its words makes a person say yes to something else than they see. */
import { describe, expect, it } from 'vitest';
import type { Approval } from '../../src/domain/approval.ts';
import { blockOf } from '../../src/cli/approve/format.ts';
import { emptyList, livePage, update } from '../../src/cli/approve/live.ts';
import { question } from '../support/question.ts';
import { homeWithApprovals } from '../support/waiting-requests.ts';

const time = 1_700_000_000_000;
const size = { columns: 80, rows: 24 };
/** Width on a terminal: of the characters below, these two take two columns. */
const columnsOf = (line: string) => Array.from(line).length + (line.match(/[漢😀]/gu)?.length ?? 0);

const hostile: readonly (readonly [what: string, text: string])[] = [
  [
    'line breaks',
    'x\r\n> aaaaaaaa   2:59  admin  GET https://harmless.test/\n  agent    admin\u0085\u2028\u2029\u000b\u000c',
  ],
  [
    'sequences of the terminal',
    '\u001b[2J\u001b[H> aaaaaaaa\u001b]0;title\u0007\u009b31m\u001bPq\u001b\\\u0008\u007f',
  ],
  ['text that runs backwards', '\u202eevil\u202c \u2066x\u2069 \u200f\u061c\u200b\u2060\ufeff\u00ad'],
  ['blanks up to the end of the line', `ok${' '.repeat(300)}agent    admin`],
  ['characters that look like blanks', `ok${'\u00a0\u3000\u2003\u2800\u3164'.repeat(80)}agent    admin`],
  ['heaps of marks', `z${'\u0301\u0489\u0334'.repeat(200)}`],
  ['wide characters', '漢😀'.repeat(400)],
  ['what is too long', 'A'.repeat(2_000)],
  ['tags and half characters', '\u{e0041}\u{e0100}\ufe0f\ud800\udc00x\ud800'],
];

function page(fields: Parameters<typeof question>[0]) {
  const other = { ...question({ id: 'bbbbbbbb', who: { grantId: 'g' } }), answer: null };
  const asked: Approval = { ...question({ id: 'cccccccc', ...fields }), answer: null };
  return livePage(update(emptyList, [asked, other], time), time + 1_000, size);
}
/** The labels of the block of the selected request. */
const labelsOf = (lines: readonly string[]) => {
  const from = lines.findIndex((line) => line.startsWith('cccccccc waits'));
  return lines
    .slice(from + 1, lines.indexOf('', from))
    .filter((line) => !line.startsWith(' '.repeat(11)))
    .map((line) => line.slice(0, 11).trim());
};
const who = { grantId: 'g', agent: 'ci', lease: '7b1d2d5c-0000-4000-8000-000000000000' };

describe.each(hostile)('%s in the text of an agent', (_what, text) => {
  const { lines, shown } = page({ who, path: `/${text}`, reason: text, purpose: text });
  const field = page({ who, fields: [`X-User: ${text.slice(0, 30)}`, 'X-Mode: force'] });
  const agent = page({ who: { ...who, agent: text } });

  it('does not reach the terminal', () => {
    for (const line of [...lines, ...agent.lines, ...field.lines]) {
      expect(line.isWellFormed()).toBe(true);
      expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Co}\u2028\u2029\u115f\u1160\u2800\u3164\uffa0]|\ufe0f/u);
      expect(line).not.toMatch(/(?! )\p{Zs}|\p{M}{4}/u);
    }
  });

  it('cannot add an entry, a fact or a line', () => {
    for (const each of [lines, agent.lines, field.lines]) {
      expect(each.filter((line) => line.startsWith('>'))).toEqual([expect.stringMatching(/^> cccccccc /)]);
      expect(each.filter((line) => /^ {2}[0-9a-z]{8} /.test(line))).toEqual([
        expect.stringMatching(/^ {2}bbbbbbbb /),
      ]);
      expect(each[0]).toBe('2 requests wait for you');
    }
    expect(labelsOf(lines)).toEqual(['request', 'agent', 'lease', 'grant', 'reason', 'rule']);
    expect(labelsOf(field.lines)).toEqual(['request', 'fields', 'agent', 'lease', 'grant', 'rule']);
    expect(field.lines).toContain('           X-Mode: force');
  });

  it('pushes nothing out of view or beyond the edge', () => {
    expect(shown).toBe('cccccccc');
    expect(lines.length).toBeLessThanOrEqual(size.rows);
    for (const line of lines) expect(columnsOf(line)).toBeLessThanOrEqual(size.columns);
    expect(lines.join('\n')).toContain('y  Yes, once: This request goes on, and no other.');
    expect(lines).toContain('  agent    ci, at 127.0.0.1:4711');
  });
});

it('a path that is too long for the page is shown with its beginning, its end and its length', () => {
  const path = `/harmless/${'x/'.repeat(1_000)}../delete-everything`;
  const block = blockOf(question({ who, path }), time, { width: 80, lines: 4 }).join('');
  expect(block).toContain('https://api.github.com/harmless/');
  expect(block).toMatch(/…\(2,?\d+ characters in all\)…/);
  expect(block).toContain('/delete-everything');
});

it('fields that do not fit the page are never truncated: the page offers no answer instead', () => {
  const { shown, lines } = page({ who, fields: Array.from({ length: 30 }, (_, index) => `X-${index}: 1`) });
  expect(shown).toBeNull();
  expect(lines.join(' ')).toContain('Make the window larger to answer');
});

it('the printed list and its JSON contain none of the hostile text', async () => {
  const { at, ask } = await homeWithApprovals();
  for (const [, text] of hostile)
    await ask({ reason: text, path: `/${text}`, fields: [`X-User: ${text.replaceAll('\n', '')}`] });
  for (const args of [['approve'], ['approve', '--json']]) {
    const { stdout } = await at.run(args);
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u);
  }
  const { stdout } = await at.run(['approve']);
  expect(stdout.match(/^[0-9a-z]{8} waits/gm)).toHaveLength(hostile.length);
  expect(stdout.match(/^ {2}agent/gm)).toHaveLength(hostile.length);
  for (const line of stdout.split('\n')) expect(columnsOf(line)).toBeLessThanOrEqual(100);
  // The JSON says it all the same.
  const { waiting } = (await at.json(['approve'])) as { waiting: { reason: string }[] };
  const reasons = new Set(waiting.map(({ reason }) => reason));
  expect(reasons).toContain(hostile[1]?.[1]);
  expect(reasons).toContain(hostile[2]?.[1]);
});
