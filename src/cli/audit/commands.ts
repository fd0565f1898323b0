import { summarizeAudit, verifyAudit } from '../../operations/audit.ts';
import type { CommandRow, OptionRow } from '../command.ts';
import { optionRows } from '../operation-command.ts';
import { conditionWords, verifyWords } from './words.ts';

const conditions: readonly OptionRow[] = optionRows(summarizeAudit, conditionWords);

/** Commands for the audit log. */
export const auditCommands: readonly CommandRow[] = [
  {
    name: 'tail',
    summary: 'show the last events',
    options: [
      ['-n, --lines <count>', 'number of events', { default: '20' }],
      ['-f, --follow', 'also print new events as they come, requests when they end'],
      ['--all', 'also starts and stops, leases of run, and accesses (--json: always all)'],
    ],
    examples: ['sidekey audit tail -n 50 -f'],
    load: async () => (await import('./query.ts')).tail,
  },
  {
    name: 'verify',
    summary: 'check that no line was edited, removed or cut off',
    arguments: [['[copies...]', 'copies of logs of other machines, each with its files beside it']],
    options: [
      ...optionRows(verifyAudit, verifyWords),
      ['--write-anchor <file>', 'append the current end of the log to this file (-: only print it)'],
      ['--accept', 'record that missing lines are known, as after a restored backup'],
    ],
    examples: [
      'sidekey audit verify',
      'sidekey audit verify --all node-a/audit.jsonl node-b/audit.jsonl',
      'sidekey audit verify --anchor audit-anchors.jsonl',
      'sidekey audit verify --write-anchor - | ssh elsewhere "cat >> audit-anchors.jsonl"',
    ],
    load: async () => (await import('./verify.ts')).verify,
  },
  {
    name: 'query',
    summary: 'print the events that meet every condition, or write them to a file',
    options: [
      ...conditions,
      ['-n, --lines <count>', 'only the last so many'],
      ['--csv', 'as CSV'],
      ['--raw', 'the lines exactly as in the log, so that their hashes can be verified'],
      ['-o, --output <file>', 'write to this file: the lines as with --raw, or --csv'],
      ['--force', 'replace the file if it exists'],
    ],
    examples: [
      'sidekey audit query --since 2026-11-01 --until 2026-12-01 -o november.jsonl',
      'sidekey audit query --since 24h --event denied',
      'sidekey audit query --agent ci-bot -n 20',
      'sidekey audit query --grant github --json | jq .host',
    ],
    load: async () => (await import('./query.ts')).query,
  },
  {
    name: 'summary',
    summary: 'show requests, refusals, bytes and durations of each agent and grant',
    options: [
      ...conditions,
      ['--suggest', 'the hosts that were refused, as config entries that would allow them'],
    ],
    examples: ['sidekey audit summary --since 7d', 'sidekey audit summary --suggest --agent ci-bot'],
    load: async () => (await import('./summary.ts')).summary,
  },
];
