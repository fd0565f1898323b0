import { z } from 'zod';
import { answerProposal } from '../agents/approvals/proposals.ts';
import { readApprovalId } from '../domain/approval.ts';
import { type Proposal, type ProposalOutcome, statusOf } from '../domain/proposal.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintText, remedy } from '../lib/hint.ts';
import type { Store } from '../store/store.ts';
import { authorOf } from './caller.ts';
import { findOffered } from './find.ts';
import { isoTime } from './format.ts';
import { membersOf, named, text, texts, time, timeOrNull } from './members.ts';
import { changing, type Changing, reading } from './operation.ts';
import { pageInput, pageOf } from './paging.ts';
import { type Effect, effectOf, noEffect } from './proposal-effect.ts';

/** Changes that agents propose. */

const members = {
  id: z.string(),
  status: z.enum(['waiting', 'accepted', 'declined', 'expired']),
  agent: z.string().nullable(),
  lease: z.string().nullable(),
  change: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('domain'),
      host: z.string(),
      grant: z.string().nullable(),
      action: z.enum(['tunnel', 'grant']),
    }),
    z.strictObject({ kind: z.literal('grant'), provider: z.string(), scopes: texts }),
    z.strictObject({ kind: z.literal('scope'), grant: z.string(), scopes: texts }),
  ]),
  reason: z.string().describe('Unchecked text of the agent.'),
  client: z.string(),
  asked_at: time,
  expires_at: time,
  answer: z
    .strictObject({
      outcome: z.enum(['declined', 'once', 'lease', 'for_good', 'connect', 'connected']),
      at: time,
      by: z.string(),
    })
    .nullable(),
  used_at: timeOrNull,
};

const proposalShape = named('Proposal', members);

function proposalAnswer(proposal: Proposal, now: number): z.input<typeof proposalShape> {
  const { change, answer } = proposal;
  const action = change.kind !== 'domain' ? {} : { action: change.grant === null ? 'tunnel' : 'grant' };
  return membersOf(members, {
    ...proposal,
    status: statusOf(proposal, now),
    change: { ...change, ...action },
    answer: answer && { outcome: answer.outcome, at: isoTime(answer.at), by: answer.by },
  });
}

const proposalWithEffect = named('ProposalWithEffect', {
  ...members,
  diff: z.string().nullable().describe('Change of the config file by a yes for good.'),
  commands: texts.describe('Commands that connect the grant.'),
  notes: texts,
});

interface ProposalWithEffect extends Pick<Effect, 'commands' | 'notes'> {
  readonly proposal: Proposal;
  readonly diff: string | null;
}

function answerWithEffect({ proposal, diff, commands, notes }: ProposalWithEffect, now: number) {
  return { ...proposalAnswer(proposal, now), diff, commands: commands.map(hintText), notes: [...notes] };
}

export const listProposals = reading({
  id: 'proposal.list',
  summary: 'List the changes that agents propose.',
  scope: 'approvals:read',
  input: z.strictObject({
    ...pageInput,
    waiting: z.boolean().optional().describe('True: only those that can be answered.'),
  }),
  output: z.array(proposalShape),
  run: ({ store }, { waiting, ...page }, at) =>
    pageOf(page, {
      place: z.object({ askedAt: z.int(), id: z.string() }),
      read: async (query) => (await store?.proposals.list(query)) ?? [],
      fits: (proposal) => waiting !== true || statusOf(proposal, at) === 'waiting',
    }),
  next: ({ next }) => next,
  answer: ({ rows }, at) => rows.map((proposal) => proposalAnswer(proposal, at)),
});

const oneProposal = z.strictObject({ proposal: text });

export const getProposal = reading({
  id: 'proposal.get',
  summary: 'Show a proposal, and what a yes changes.',
  scope: 'approvals:read',
  input: oneProposal,
  output: proposalWithEffect,
  async run({ store, registry, ...parts }, { proposal: id }, at): Promise<ProposalWithEffect> {
    const proposal = await pickProposal(store, id);
    const grants = {
      find: (reference: string) => findOffered(store, reference, null),
      read: async (grant: string) => (await (await registry())?.read(grant)) ?? null,
    };
    const waits = statusOf(proposal, at) === 'waiting';
    const { entry, commands, notes } = waits
      ? await effectOf(proposal, { ...parts, store, grants })
      : noEffect;
    return { proposal, diff: entry?.diff ?? null, commands, notes };
  },
  answer: answerWithEffect,
});

export const acceptProposal = changing({
  id: 'proposal.accept',
  summary: 'Accept a proposal: a domain once or for the lease; a grant or scopes, to be connected.',
  scope: 'approvals:write',
  input: oneProposal.extend({
    reach: z.enum(['once', 'lease']).optional().describe('For a domain; default: once.'),
  }),
  output: proposalWithEffect,
  run: (parts, { proposal, reach }, at) => accept(parts, proposal, reach, at),
  answer: answerWithEffect,
});

export const acceptProposalForGood = changing({
  id: 'proposal.accept_for_good',
  summary: 'Accept a proposed domain for good: the config file gets an entry.',
  // The entry is a change of the config, which the scope approvals:write does not cover.
  scope: 'config:write',
  input: oneProposal,
  output: proposalWithEffect,
  run: (parts, { proposal }, at) => accept(parts, proposal, 'for_good', at),
  answer: answerWithEffect,
});

export const declineProposal = changing({
  id: 'proposal.decline',
  summary: 'Decline a proposal, or end a yes that is not for good.',
  scope: 'approvals:write',
  input: oneProposal,
  output: proposalShape,
  run: async ({ store, audit, caller }, { proposal: id }, at) =>
    answerProposal({ store, audit }, await pickProposal(store, id), {
      at,
      by: authorOf(caller),
      outcome: 'declined',
    }),
  answer: proposalAnswer,
});

type Reach = 'once' | 'lease' | 'for_good';

/** @throws SidekeyError as `answerProposal` and `proposedEntry`; `not_found` */
async function accept(
  parts: Changing,
  id: string,
  reach: Reach | undefined,
  at: number,
): Promise<ProposalWithEffect & { readonly outcome: ProposalOutcome }> {
  const { store, audit, caller } = parts;
  const proposal = await pickProposal(store, id);
  const outcome = outcomeOf(proposal, reach);
  const { entry, commands, notes, refusal } = await effectOf(proposal, parts);
  // Lists may have changed since the proposal was made.
  if (refusal !== null) throw refusal;
  const answer = { at, by: authorOf(caller), outcome };
  const accepted = await answerProposal({ store, audit }, proposal, answer);
  const added = outcome === 'for_good' ? entry : null;
  await added?.write(audit);
  return { proposal: accepted, outcome, diff: added?.diff ?? null, commands, notes };
}

function outcomeOf({ id, change, lease }: Proposal, reach: Reach | undefined): ProposalOutcome {
  if (change.kind !== 'domain') {
    if (reach === undefined) return 'connect';
    throw unclearAnswer('A grant is connected for good: this proposal takes no option.', id);
  }
  if (reach === 'lease' && lease === null)
    throw unclearAnswer(`The proposal ${id} comes under no lease.`, id);
  return reach ?? 'once';
}

/** Error for an answer that does not fit a proposal. */
export function unclearAnswer(sentence: string, id: string): SidekeyError {
  return new SidekeyError('input_invalid', sentence, { hint: remedy('proposal.get', { proposal: id }) });
}

/** @throws SidekeyError `not_found` */
async function pickProposal(store: Pick<Store, 'proposals'> | null, written: string): Promise<Proposal> {
  const id = readApprovalId(written);
  const proposal = id === null ? null : ((await store?.proposals.get(id)) ?? null);
  if (proposal !== null) return proposal;
  throw new SidekeyError('not_found', 'There is no such proposal: it was removed, or the ID is wrong.', {
    hint: remedy('proposal.list'),
  });
}
