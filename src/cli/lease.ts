import { leaseStanding } from '../domain/lease.ts';
import { readEntries } from '../grants/credential-input.ts';
import { counted, lastUse, shortId, spanText, when } from '../operations/format.ts';
import {
  createLease,
  getLease,
  listLeases,
  renewLease,
  revokeLease,
  revokeLeases,
  unclearChoice,
} from '../operations/lease.ts';
import type { ArgumentRow, CommandRow } from './command.ts';
import type { Context } from './context.ts';
import { details, table } from './display.ts';
import {
  cappedText,
  leaseClockText,
  leaseEndText,
  leaseGrantsText,
  leaseStateText,
  usesText,
} from '../operations/lease-text.ts';
import { type GivenOptions, optionRows, pageWords, perform, sayNext } from './operation-command.ts';
import { readSecretFile } from './terminal.ts';

/** Commands for leases. */

const ttl = { summary: 'lifetime: 15m, 8h; a maximum in the config or a policy shortens it', value: 'span' };

const createWords = {
  agent: { summary: 'the agent', value: 'name' },
  grants: { summary: 'for these grants: name, ID, or USER/NAME', name: 'grant' },
  credentials: {
    summary: 'with credentials of its own, which end with it: JSON as for grant import; - is standard input',
    value: 'file',
    async read({ readInput, output }: Context, file: string) {
      const text = file === '-' ? await readInput() : await readSecretFile('--credentials', file, output);
      return (now: () => number) => readEntries(text, { now });
    },
  },
  purpose: { summary: 'the purpose, for the audit log', value: 'text' },
  egress: {
    summary: 'only these hosts without a credential: HOST, HOST:PORT, *.SUFFIX, or none',
    value: 'host',
  },
  ttl,
  idle: { summary: 'end it when it is not used for this time', value: 'span' },
  max_uses: { summary: 'end it after this number of requests', value: 'number' },
};

/** Prints the token, which cannot be retrieved later. */
async function create(context: Context, options: GivenOptions): Promise<void> {
  const { result, answer, at } = await perform(context, createLease, { words: createWords, options });
  const { lease, url, warnings } = result;
  context.output.result(answer, `HTTPS_PROXY=${url}`);
  context.output.say(
    [
      `Copy the token of the lease ${lease.id} from that line now: it is shown only once.`,
      leaseClockText(lease, at),
      ...[cappedText(result.ttl, options['ttl'] as string | undefined) ?? []].flat(),
      ...warnings,
    ].join('\n'),
  );
}

const listWords = {
  agent: { summary: 'only those of this agent', value: 'name' },
  grant: { summary: 'only those for this grant' },
  all: { summary: 'also those that have ended' },
  ...pageWords,
};

async function list(context: Context, id: string | undefined, options: GivenOptions): Promise<void> {
  if (id !== undefined) return show(context, id);
  const { result, answer, at } = await perform(context, listLeases, { words: listWords, options });
  const { leases, grants, hidden, isCounted, agents, next } = result;
  const rows = leases.map((lease) => [
    shortId(lease.id),
    lease.agent,
    leaseGrantsText(lease, grants),
    leaseStateText(lease, at),
    leaseEndText(lease, at),
    usesText(lease),
    lastUse(lease.usedAt, at),
    lease.purpose,
  ]);
  const headings = ['LEASE', 'AGENT', 'GRANTS', 'STATE', 'ENDS', 'USES', 'LAST USED', 'PURPOSE'];
  const least = { least: ['USES', 'LAST USED', 'GRANTS', 'PURPOSE'] };
  const lines = [
    rows.length === 0 ? 'No leases found.' : table(context.output.display, headings, rows, least),
  ];
  if (hidden > 0 && isCounted)
    lines.push(`${counted(hidden, 'ended lease')} hidden; --all shows ${hidden === 1 ? 'it' : 'them'}.`);
  else if (hidden > 0) lines.push('Ended leases are hidden; --all shows them.');
  if (agents !== null)
    lines.push(
      `  → sidekey ${agents === 0 ? 'agent create AGENT' : 'lease create --agent AGENT --grant GRANT --ttl 15m --purpose TEXT'}`,
    );
  context.output.result(answer, lines.join('\n'));
  sayNext(context, next);
}

async function show(context: Context, id: string): Promise<void> {
  const { result, answer, at } = await perform(context, getLease, { fixed: { lease: id } });
  const { lease, grants, warnings } = result;
  context.output.result(
    answer,
    details(context.output.display, lease.id, {
      agent: lease.agent,
      grants: leaseGrantsText(lease, grants),
      egress: lease.egress?.join(', ') ?? null,
      purpose: lease.purpose,
      state: leaseStateText(lease, at),
      ends: leaseEndText(lease, at),
      'at the latest': when(lease.expiresAt, at),
      'idle end': lease.idleMs === null ? null : `after ${spanText(lease.idleMs)} without a request`,
      uses: lease.maxUses === null ? null : usesText(lease),
      'last use': lastUse(lease.usedAt, at),
      renewed: lease.renewedAt === null ? null : when(lease.renewedAt, at),
      created: when(lease.createdAt, at),
    }),
  );
  for (const warning of warnings) context.output.say(warning);
}

const renewWords = { ttl, uses: { summary: 'number of further requests', value: 'number' } };

async function renew(context: Context, id: string, options: GivenOptions): Promise<void> {
  const given = { words: renewWords, options, fixed: { lease: id } };
  const { result, answer, at } = await perform(context, renewLease, given);
  const { lease, warnings } = result;
  const { output } = context;
  output.result(answer, `Renewed the lease ${lease.id}. ${leaseClockText(lease, at)}`);
  const capped = cappedText(result.ttl, options['ttl'] as string | undefined);
  if (capped !== null) output.say(capped);
  for (const warning of warnings) output.say(warning);
  if (leaseStanding(lease, at).state === 'used_up') {
    output.say(`The lease has no uses left.\n  → sidekey lease renew ${id} --uses ${lease.maxUses}`);
  }
}

const revokeWords = {
  agent: { summary: 'all leases of this agent', value: 'name' },
  grant: { summary: 'all leases for this grant' },
};

async function revoke(context: Context, id: string | undefined, options: GivenOptions): Promise<void> {
  if (id !== undefined && (options['agent'] ?? options['grant']) !== undefined) throw unclearChoice();
  const { answer } =
    id === undefined
      ? await perform(context, revokeLeases, { words: revokeWords, options })
      : await perform(context, revokeLease, { fixed: { lease: id } });
  const count = answer.revoked.length;
  context.output.result(
    answer,
    count === 0
      ? 'Nothing changed: the leases were revoked before, or there are none.'
      : `Revoked ${count === 1 ? 'one lease' : `${count} leases`}: refused from the next request on.`,
  );
}

const idSummary = 'its ID, or the first characters of it';
const perhapsOne: readonly ArgumentRow[] = [['[lease]', idSummary]];

export const leaseCommands: readonly CommandRow[] = [
  {
    name: 'create',
    summary: 'let an agent use grants for a while, and show the token once',
    options: optionRows(createLease, createWords),
    examples: ['sidekey lease create --agent ci-bot --grant github --ttl 15m --purpose "nightly report"'],
    load: async () => create,
  },
  {
    name: 'list',
    alias: 'show',
    summary: 'list the active leases, or show one in full',
    arguments: perhapsOne,
    options: optionRows(listLeases, listWords),
    examples: ['sidekey lease list --agent ci-bot --all', 'sidekey lease list 7b1d2d5c'],
    load: async () => list,
  },
  {
    name: 'renew',
    summary: 'give a lease a new end, counted from now',
    arguments: [['<lease>', idSummary]],
    options: optionRows(renewLease, renewWords),
    examples: ['sidekey lease renew 7b1d2d5c --ttl 15m'],
    load: async () => renew,
  },
  {
    name: 'revoke',
    summary: 'end leases, from the next request on',
    arguments: perhapsOne,
    options: optionRows(revokeLeases, revokeWords),
    examples: ['sidekey lease revoke 7b1d2d5c', 'sidekey lease revoke --agent ci-bot'],
    load: async () => revoke,
  },
];
