import { counted, lastUse, relativeTime } from '../operations/format.ts';
import { keyStatus, rotate } from '../operations/key.ts';
import type { NodeRecord } from '../store/store.ts';
import type { CommandRow } from './command.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { type GivenOptions, optionRows, perform } from './operation-command.ts';

/** Commands for the master key. */

async function showStatus(context: Context): Promise<void> {
  const { result, answer, at } = await perform(context, keyStatus);
  const { source, rotating, left, keys, behind } = result;
  const { output } = context;
  const rows = keys.map(({ keyId, state, since, retiredAt, records }) => [
    keyId,
    state,
    since === null ? 'the store began' : relativeTime(since, at),
    retiredAt === null ? '-' : relativeTime(retiredAt, at),
    String(records),
  ]);
  const rest = rotating
    ? [
        `The rotation is not finished: ${counted(left, 'record')} left.`,
        ...behindText(behind, keys[1]?.keyId, at),
        '  → sidekey key rotate',
      ]
    : [];
  output.result(
    answer,
    keys.length === 0
      ? `There is no master key yet (source: ${source}).`
      : [
          `Source: ${source}`,
          table(output.display, ['KEY', 'STATE', 'SINCE', 'RETIRED', 'RECORDS'], rows),
          ...rest,
        ].join('\n'),
  );
}

const rotateWords = {
  new: {
    summary:
      'env:NAME, file:PATH or command:…: the new key of the sources env and command, or the new passphrase',
    value: 'reference',
  },
  retire: { summary: 'retire the old key, also if other nodes still have it' },
};

/** Begins a rotation, or resumes one. */
async function rotateNow(context: Context, options: GivenOptions): Promise<void> {
  const { output } = context;
  let printed = 0;
  const onProgress = (done: number, of: number) => {
    const percent = of === 0 ? 100 : Math.floor((done / of) * 100);
    if (percent < printed + 10 && done < of) return;
    printed = percent;
    output.say(`Re-wrapped ${done} of ${counted(of, 'record')}.`);
  };
  const { result, answer } = await perform(context, rotate, { words: rotateWords, options, onProgress });
  const { rotation, oldPlace, members, endedAt: at } = result;
  const { from, to, resumed, rewrapped, finished, behind } = rotation;
  const begun = resumed ? 'Resumed the rotation of' : 'Rotated';
  const lines = [`${begun} the master key ${from} to ${to}: ${counted(rewrapped, 'record')} re-wrapped.`];
  if (members.length > 0)
    lines.push(`It is sealed for the nodes with a key of their own: ${members.join(', ')}.`);
  if (finished)
    lines.push(
      `The key ${from} is retired: it opens nothing any more. Keep it only with backups from before.`,
    );
  else if (oldPlace !== null)
    lines.push(
      `${oldPlace} still gives ${from}, which opens the store until you finish:`,
      '  1. put the new key in its place, and restart what reads it',
      '  2. sidekey key rotate',
    );
  if (finished && behind.length > 0)
    lines.push(`Give the new key to ${namesOf(behind, at)}: without it they cannot start.`);
  else lines.push(...behindText(behind, from, at));
  output.result(answer, lines.join('\n'));
}

/** Lists the nodes whose source still has the earlier key, with commands to proceed. */
function behindText(nodes: readonly NodeRecord[], key = '', at: number): readonly string[] {
  if (nodes.length === 0) return [];
  return [
    `The key ${key} opens the store until it is replaced at the key source of ${namesOf(nodes, at)}.`,
    '  → start these nodes: they do it themselves. The node that began the rotation does it by: sidekey key rotate',
    '  → with env and command: put the new key there yourself, and restart. The last node finishes the rotation',
    '  → sidekey key rotate --retire (without them: they cannot start until you give them the new key)',
  ];
}

function namesOf(nodes: readonly NodeRecord[], at: number): string {
  return nodes
    .map(({ name, source, awayMs }) => `${name} (${source}, last seen ${lastUse(at - awayMs, at)})`)
    .join(', ');
}

export const keyCommands: readonly CommandRow[] = [
  {
    name: 'status',
    summary: 'show the source of the master key, the keys, and the records that each seals',
    examples: ['sidekey key status'],
    load: async () => showStatus,
  },
  {
    name: 'rotate',
    summary: 'replace the master key while the proxy runs; resumes what was interrupted',
    options: optionRows(rotate, rotateWords),
    examples: ['sidekey key rotate', 'sidekey key rotate --new env:SIDEKEY_NEXT_KEY'],
    load: async () => rotateNow,
  },
];
