import { changeText, type Proposal, type ProposalOutcome, statusOf } from '../domain/proposal.ts';
import { untrusted } from '../lib/text.ts';
import { relativeTime, shortId } from '../operations/format.ts';
import {
  acceptProposal,
  acceptProposalForGood,
  declineProposal,
  getProposal,
  listProposals,
  unclearAnswer,
} from '../operations/proposal.ts';
import type { Context } from './context.ts';
import { columns, details, fitting } from './display.ts';
import { type GivenOptions, pageWords, perform, sayNext } from './operation-command.ts';
import { hintText } from '../lib/hint.ts';

/** Commands for the changes that agents propose. */

/** `sidekey proposal list` */
export async function printProposals(context: Context, options: GivenOptions): Promise<void> {
  const { result, answer, at } = await perform(context, listProposals, { words: pageWords, options });
  const { rows: proposals, next } = result;
  const { output } = context;
  const rows = proposals.map((proposal) => [
    proposal.id,
    stateText(proposal, at),
    agentText(proposal),
    fitting(untrusted(changeText(proposal.change)), 80),
    relativeTime(proposal.askedAt, at),
  ]);
  const lines = columns(output.display, [['ID', 'STATE', 'AGENT', 'ASKS FOR', 'MADE'], ...rows]);
  output.result(
    answer,
    proposals.length === 0
      ? 'No agent has proposed anything.'
      : [...lines, '', '  → sidekey proposal show ID'].join('\n'),
  );
  sayNext(context, next);
}

/** `sidekey proposal show ID`: also shows the effect of each yes. */
export async function printProposal(context: Context, id: string): Promise<void> {
  const { result, answer: json, at } = await perform(context, getProposal, { fixed: { proposal: id } });
  const { proposal, diff, commands, notes } = result;
  const { change, lease, reason, client, answer } = proposal;
  const waits = statusOf(proposal, at) === 'waiting';
  const facts = details(context.output.display, `proposal ${proposal.id}`, {
    state: stateText(proposal, at),
    'asks for': untrusted(changeText(change)),
    agent: `${agentText(proposal)}, at ${untrusted(client)}`,
    lease: lease && shortId(lease),
    reason: `"${untrusted(reason)}" (the words of the agent, which nobody has checked)`,
    made: relativeTime(proposal.askedAt, at),
    answered: answer && `${untrusted(answer.by)}, ${relativeTime(answer.at, at)}`,
  });
  context.output.result(
    json,
    [
      facts,
      ...(diff === null ? [] : ['', 'For good, the config file changes:', '', untrustedLines(diff)]),
      ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `Note: ${untrusted(note)}`)]),
      ...(waits
        ? ['', ...(answer === null ? answersTo(proposal) : commands.map((each) => `  → ${hintText(each)}`))]
        : []),
    ].join('\n'),
  );
}

interface AcceptOptions {
  readonly once?: boolean;
  readonly lease?: boolean;
  readonly forGood?: boolean;
}

/** `sidekey proposal accept ID` */
export async function accept(
  context: Context,
  id: string,
  { once = false, lease = false, forGood = false }: AcceptOptions,
): Promise<void> {
  if ([once, lease, forGood].filter(Boolean).length > 1)
    throw unclearAnswer('Give one of --once, --lease and --for-good.', id);
  const reach = lease ? 'lease' : once ? 'once' : undefined;
  const { result, answer } = forGood
    ? await perform(context, acceptProposalForGood, { fixed: { proposal: id } })
    : await perform(context, acceptProposal, { fixed: { proposal: id, reach } });
  const { proposal, outcome, diff, commands, notes } = result;
  const { output } = context;
  output.result(
    answer,
    [
      `Accepted ${proposal.id}: ${untrusted(changeText(proposal.change))}, ${reachText[outcome]}.`,
      ...(diff === null ? [] : ['', untrustedLines(diff)]),
      ...commands.map((command) => `  → ${hintText(command)}`),
    ].join('\n'),
  );
  for (const note of notes) output.say(`Note: ${untrusted(note)}`);
}

/** `sidekey proposal decline ID`: also ends a temporary yes. */
export async function decline(context: Context, id: string): Promise<void> {
  const { result, answer } = await perform(context, declineProposal, { fixed: { proposal: id } });
  context.output.result(answer, `Declined ${result.id}.`);
}

const reachText: Readonly<Record<ProposalOutcome, string>> = {
  once: 'for one request within an hour',
  lease: 'until the lease ends',
  for_good: 'for good',
  connect: 'when you have connected it',
  connected: 'connected',
  declined: 'declined',
};

function answersTo({ id, change, lease }: Proposal): readonly string[] {
  const accept = `sidekey proposal accept ${id}`;
  return [
    ...(change.kind === 'domain'
      ? [
          `  → ${accept} --once`,
          ...(lease === null ? [] : [`  → ${accept} --lease`]),
          `  → ${accept} --for-good`,
        ]
      : [`  → ${accept}`]),
    `  → sidekey proposal decline ${id}`,
  ];
}

function stateText(proposal: Proposal, now: number): string {
  const { answer, usedAt } = proposal;
  if (answer?.outcome === 'connect') return 'accepted, to be connected';
  const status = statusOf(proposal, now);
  if (status !== 'accepted' || answer === null) return status;
  return `accepted ${answer.outcome.replace('_', ' ')}${usedAt === null ? '' : ', used'}`;
}

function agentText({ agent }: Proposal): string {
  return agent === null ? 'a local caller without a token' : untrusted(agent);
}

const untrustedLines = (text: string) => text.split('\n').map(shownLine).join('\n');

/** Keeps the indentation of a line of the config file. */
function shownLine(line: string): string {
  const [indent = ''] = /^[-+ ] */.exec(line) ?? [];
  return `${indent}${untrusted(line.slice(indent.length))}`;
}
