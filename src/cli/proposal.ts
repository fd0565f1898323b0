import type { State } from '../app/state.ts';
import { readApprovalId } from '../domain/approval.ts';
import {
  changeText,
  type Proposal,
  type ProposalOutcome,
  type ProposedChange,
  statusOf,
} from '../domain/proposal.ts';
import { answerProposal } from '../agents/approvals/proposals.ts';
import { proposedEntry, type ProposedEntry } from '../agents/approvals/proposed-entry.ts';
import type { Config } from '../config/config.ts';
import { consentCommand } from '../grants/messages.ts';
import { SidekeyError } from '../lib/errors.ts';
import { shellWord, untrusted } from '../lib/text.ts';
import type { Context } from './context.ts';
import { columns, details, fitting } from './display.ts';
import { warningsFor } from './domain.ts';
import { isoOrNull, isoTime, relativeTime, shortId } from '../operations/format.ts';
import { connectCommands } from './provider.ts';

/** `sidekey proposal list` */
export async function listProposals({ withView, output, now }: Context): Promise<void> {
  const at = now();
  const all = await withView(async ({ store }) => (await store?.proposals.list()) ?? []);
  const rows = all.map((proposal) => [
    proposal.id,
    stateText(proposal, at),
    agentText(proposal),
    fitting(untrusted(changeText(proposal.change)), 80),
    relativeTime(proposal.askedAt, at),
  ]);
  const lines = columns(output.display, [['ID', 'STATE', 'AGENT', 'ASKS FOR', 'MADE'], ...rows]);
  output.result(
    all.map((proposal) => proposalJson(proposal, at)),
    all.length === 0
      ? 'No agent has proposed anything.'
      : [...lines, '', '  → sidekey proposal show ID'].join('\n'),
  );
}

/** `sidekey proposal show ID`: also shows the effect of each yes. @throws SidekeyError `not_found` */
export async function showProposal(context: Context, id: string): Promise<void> {
  const { output, now, withState } = context;
  const at = now();
  const file = await context.configFile();
  const shown = await withState(async (state) => {
    const proposal = await find(state, id);
    const waits = statusOf(proposal, at) === 'waiting';
    const effect = waits ? await effectOf(proposal, state, { ...context, file }) : noEffect;
    return { proposal, waits, ...effect };
  });
  const { proposal, waits, entry, commands, notes } = shown;
  const { change, lease, reason, client, answer } = proposal;
  const facts = details(output.display, `proposal ${proposal.id}`, {
    state: stateText(proposal, at),
    'asks for': untrusted(changeText(change)),
    agent: `${agentText(proposal)}, at ${untrusted(client)}`,
    lease: lease && shortId(lease),
    reason: `"${untrusted(reason)}" (the words of the agent, which nobody has checked)`,
    made: relativeTime(proposal.askedAt, at),
    answered: answer && `${untrusted(answer.by)}, ${relativeTime(answer.at, at)}`,
  });
  output.result(
    { ...proposalJson(proposal, at), diff: entry?.diff ?? null, commands, notes },
    [
      facts,
      ...(entry === null ? [] : ['', 'For good, the config file changes:', '', untrustedLines(entry.diff)]),
      ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `Note: ${untrusted(note)}`)]),
      ...(waits
        ? ['', ...(answer === null ? answersTo(proposal) : commands.map((each) => `  → ${each}`))]
        : []),
    ].join('\n'),
  );
}

export interface AcceptOptions {
  readonly once?: boolean;
  readonly lease?: boolean;
  readonly forGood?: boolean;
}

/** `sidekey proposal accept ID`. @throws SidekeyError as `answerProposal` and `proposedEntry`; `not_found` */
export async function acceptProposal(context: Context, id: string, options: AcceptOptions): Promise<void> {
  const { output, now, answeredBy } = context;
  const file = await context.configFile();
  const done = await context.withState(async (state) => {
    const proposal = await find(state, id);
    const outcome = outcomeOf(proposal, options);
    const effect = await effectOf(proposal, state, { ...context, file });
    // Lists may have changed since the proposal was made.
    if (effect.refusal !== null) throw effect.refusal;
    const answer = { at: now(), by: answeredBy, outcome };
    const accepted = await answerProposal(state, proposal, answer);
    if (outcome === 'for_good') await effect.entry?.write(state.audit);
    return { accepted, outcome, ...effect };
  });
  const { accepted, outcome, entry, commands, notes } = done;
  const diff = outcome === 'for_good' ? (entry?.diff ?? null) : null;
  const said = `Accepted ${accepted.id}: ${untrusted(changeText(accepted.change))}, ${reachText[outcome]}.`;
  output.result(
    { ...proposalJson(accepted, now()), diff, commands, notes },
    [
      said,
      ...(diff === null ? [] : ['', untrustedLines(diff)]),
      ...commands.map((command) => `  → ${command}`),
    ].join('\n'),
  );
  for (const note of notes) output.say(`Note: ${untrusted(note)}`);
}

/** `sidekey proposal decline ID`: also ends a temporary yes. @throws SidekeyError as `answerProposal` */
export async function declineProposal(
  { withState, output, answeredBy, now }: Context,
  id: string,
): Promise<void> {
  const declined = await withState(async (state) =>
    answerProposal(state, await find(state, id), {
      at: now(),
      by: answeredBy,
      outcome: 'declined',
    }),
  );
  output.result(proposalJson(declined, now()), `Declined ${declined.id}.`);
}

async function find({ store }: Pick<State, 'store'>, text: string): Promise<Proposal> {
  const id = readApprovalId(text);
  const found = id === null ? null : await store.proposals.get(id);
  if (found !== null) return found;
  throw new SidekeyError('not_found', 'There is no such proposal: it was removed, or the ID is wrong.', {
    hint: 'sidekey proposal list',
  });
}

function outcomeOf({ id, change, lease }: Proposal, options: AcceptOptions): ProposalOutcome {
  const chosen = [
    ...(options.once === true ? (['once'] as const) : []),
    ...(options.lease === true ? (['lease'] as const) : []),
    ...(options.forGood === true ? (['for_good'] as const) : []),
  ];
  if (chosen.length > 1) throw unclear('Give one of --once, --lease and --for-good.', id);
  if (change.kind !== 'domain') {
    if (chosen.length > 0) throw unclear('A grant is connected for good: this proposal takes no option.', id);
    return 'connect';
  }
  if (chosen[0] === 'lease' && lease === null) throw unclear(`The proposal ${id} comes under no lease.`, id);
  return chosen[0] ?? 'once';
}

function unclear(sentence: string, id: string): SidekeyError {
  return new SidekeyError('input_invalid', sentence, { hint: `sidekey proposal show ${id}` });
}

/** The effect of a yes. */
interface Effect {
  /** The entry for a permanent yes; null: the proposal is for no domain, or cannot be accepted. */
  readonly entry: ProposedEntry | null;
  /** Commands that a person runs after a yes. */
  readonly commands: readonly string[];
  readonly notes: readonly string[];
  /** Reason why the map refuses the entry; null: it accepts the entry. */
  readonly refusal: SidekeyError | null;
}

const noEffect: Effect = { entry: null, commands: [], notes: [], refusal: null };

async function effectOf(
  { change, agent }: Proposal,
  state: State,
  { file, env, config }: Pick<Context, 'env' | 'config'> & { readonly file: string },
): Promise<Effect> {
  if (change.kind !== 'domain') {
    const commands = await commandsFor(change, agent, state, await config());
    return { ...noEffect, commands };
  }
  try {
    const entry = await proposedEntry(change, file, env);
    const warnings =
      change.grant === null ? [] : await warningsFor(state, entry.config, change.host, change.grant);
    return { ...noEffect, entry, notes: warnings.map(({ sentence }) => sentence) };
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return { ...noEffect, notes: [error.message], refusal: error };
  }
}

/** Returns the commands that connect a grant, and bind the grant to the agent. */
async function commandsFor(
  change: Exclude<ProposedChange, { readonly kind: 'domain' }>,
  agent: string | null,
  { grants }: Pick<State, 'grants'>,
  { providers }: Pick<Config, 'providers'>,
): Promise<readonly string[]> {
  const name = change.kind === 'grant' ? change.provider : change.grant;
  const bind = agent === null ? [] : [`sidekey agent bind ${agent} --grant ${name}`];
  if (change.kind === 'scope') {
    const grant = (await grants.find(change.grant)).find((each) => each.name === change.grant);
    const opened = grant === undefined ? null : await grants.read(grant.id);
    if (opened !== null) {
      const provider = providers.get(opened.grant.provider);
      return [consentCommand(opened.grant, change.scopes, provider, opened.sealed.credential)];
    }
    return [`sidekey connect PROVIDER --name ${name}${scopeOption(change.scopes)}`, ...bind];
  }
  const provider = providers.get(change.provider);
  const [connect = `sidekey connect ${name}`] = provider === undefined ? [] : connectCommands(provider);
  return [`${connect}${scopeOption(change.scopes)}`, ...bind];
}

function scopeOption(scopes: readonly string[]): string {
  return scopes.length === 0 ? '' : ` --scope ${shellWord(scopes.join(' '))}`;
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

/** Returns the JSON form of a proposal. Times are ISO 8601. */
function proposalJson(proposal: Proposal, now: number): object {
  const { id, agent, lease, change, reason, client, askedAt, expiresAt, answer, usedAt } = proposal;
  return {
    id,
    status: statusOf(proposal, now),
    agent,
    lease,
    change:
      change.kind === 'domain' ? { ...change, action: change.grant === null ? 'tunnel' : 'grant' } : change,
    reason,
    client,
    asked_at: isoTime(askedAt),
    expires_at: isoTime(expiresAt),
    answer: answer && { outcome: answer.outcome, at: isoTime(answer.at), by: answer.by },
    used_at: isoOrNull(usedAt),
  };
}
