/** The live list as lines of a page. Pure. */
import type { Approval } from '../../approvals/approval.ts';
import type { Page } from '../screen.ts';
import { fitting, widthOf, wrap } from './columns.ts';
import { usualSpan, type LiveList } from './live-list.ts';
import { agentText, beyondText, blockOf, remaining, requestText } from './words.ts';

/** A page, and whether the selected entry stands on it in full. */
export interface LivePage extends Page {
  /** Its id; null: none is selected, or it does not fit. */
  readonly shown: string | null;
}

/** @param now milliseconds since the epoch */
export function livePage(
  list: LiveList,
  now: number,
  { columns, rows }: { readonly columns: number; readonly rows: number },
): LivePage {
  const at = list.entries.findIndex(({ id }) => id === list.selected);
  const entry = list.entries[at];
  const note = list.note === null ? [] : sentence(list.note, columns);
  if (entry === undefined) {
    return { lines: [...idle.flatMap((line) => wrap(line, columns)), ...note], bold: 0, shown: null };
  }
  const below = [
    '',
    ...blockOf(entry, now, { width: columns, lines: 4 }).flatMap((line) => wrap(line, columns)),
    '',
    ...(list.asking === null ? keysOf(entry) : askingLines(entry, list.asking.span)).flatMap((line) =>
      sentence(line, columns),
    ),
    ...note,
  ];
  const room = rows - below.length - 2;
  if (room < 1) {
    const small = `${list.entries.length} waiting. Make the window larger to answer (q leaves).`;
    return { lines: wrap(small, columns).slice(0, rows), bold: 0, shown: null };
  }
  // The cursor stays on the page, and the page full.
  const first = Math.max(0, Math.min(at - Math.floor(room / 2), list.entries.length - room));
  const listed = list.entries.slice(first, first + room);
  return {
    lines: [
      fitting(headOf(list.entries.length, first, listed.length), columns),
      '',
      ...listed.map((each) => rowOf(each, each === entry, now, columns)),
      ...below,
    ],
    bold: 2 + at - first,
    shown: entry.id,
  };
}

const idle = [
  'Nothing waits for you.',
  '',
  'A request that meets a rule with "outcome: approve" comes up here by itself.',
  'What was approved for longer: sidekey approve --list',
  '',
  'q leaves',
];

function headOf(count: number, first: number, listed: number): string {
  const all = count === 1 ? '1 request waits for you' : `${count} requests wait for you`;
  return listed === count ? all : `${all} (${first + 1} to ${first + listed} are listed)`;
}

/** `> k3f9q2xa   2:41  ci-bot  DELETE https://…`; what is too long for the line is in the block below, or ends in `…`. */
function rowOf(entry: Approval, isSelected: boolean, now: number, columns: number): string {
  const agent = agentText(entry.who);
  const row = `${isSelected ? '>' : ' '} ${entry.id}  ${remaining(entry, now).padStart(5)}  ${agent}  ${requestText(entry)}`;
  const fit = fitting(row, columns);
  return fit === row ? row : `${fitting(row, columns - 1)}…`;
}

function keysOf(entry: Approval): string[] {
  const beyond = beyondText(entry);
  return [
    '  y  yes, to this request alone',
    ...(entry.who.lease === null ? [] : [`  l  yes, to ${beyond}, while that lives`]),
    entry.who.lease === null ? `  t  yes, to ${beyond}, for a time` : '  t  the same, for a time',
    '  n  no      up, down  choose another      q  leave',
  ];
}

function askingLines(entry: Approval, span: string): string[] {
  return [
    `  Yes, to ${beyondText(entry)}.`,
    `  For how long? ${span === '' ? `(${usualSpan}) ` : span}_`,
    '  return  answer      escape  back',
  ];
}

/** A sentence of ours in lines that end with a word; those after the first are indented. */
function sentence(text: string, columns: number): string[] {
  const lines = [''];
  for (const word of text.split(/(?<=[^ ]) /)) {
    const line = lines.at(-1) ?? '';
    const longer = line === '' ? word : `${line} ${word}`;
    if (line === '' || widthOf(longer) <= columns) lines[lines.length - 1] = longer;
    else lines.push(`     ${word}`);
  }
  return lines.flatMap((line) => wrap(line, columns));
}
