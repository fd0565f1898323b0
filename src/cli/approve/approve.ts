import type { State } from '../../app/state.ts';
import { type Answer, answerEvent, type Approval, isWaiting, readApprovalId } from '../../domain/approval.ts';
import { recordChange } from '../../audit/log.ts';
import {
  type ApprovalResponse,
  beyondText,
  blockOf,
  questionJson,
  standingBlock,
  standingJson,
} from './format.ts';
import type { Context } from '../context.ts';
import { readSpan, spanText, waitingText } from '../../operations/format.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { countWaiting } from '../../domain/proposal.ts';
import { approvalPages } from './pages.ts';

export interface ApproveOptions {
  readonly once?: boolean;
  readonly lease?: boolean;
  readonly for?: string;
  readonly deny?: boolean;
  readonly list?: boolean;
  /** Id of a standing approval. */
  readonly revoke?: string;
}

/** `sidekey approve`: selects one of its four modes. @throws SidekeyError `input_invalid` */
export async function approve(
  context: Context,
  id: string | undefined,
  options: ApproveOptions,
): Promise<void> {
  const { list = false, revoke, ...answers } = options;
  const said = responseOf(answers);
  if ([id !== undefined, list, revoke !== undefined].filter(Boolean).length > 1) throw unclear();
  if (id === undefined && said !== null) throw unclear();
  if (id !== undefined) {
    return answerOne(context, readId(id), said ?? 'once');
  }
  if (revoke !== undefined) {
    return revokeOne(context, readId(revoke));
  }
  const { openScreen, output } = context;
  if (list || openScreen === null || output.json) return listApprovals(context);
  return (await import('./live.ts')).live(context, openScreen, respond);
}

function responseOf({
  once,
  lease,
  for: span,
  deny,
}: Omit<ApproveOptions, 'list' | 'revoke'>): ApprovalResponse | null {
  const said: ApprovalResponse[] = [
    ...(once === true ? (['once'] as const) : []),
    ...(lease === true ? (['lease'] as const) : []),
    ...(span === undefined ? [] : [{ forMs: readSpan('--for', span) }]),
    ...(deny === true ? (['deny'] as const) : []),
  ];
  if (said.length > 1) throw unclear();
  return said[0] ?? null;
}

function readId(text: string): string {
  const id = readApprovalId(text);
  if (id !== null) return id;
  throw new SidekeyError(
    'input_invalid',
    'This is not the ID of a request: an ID has eight letters and digits.',
    {
      hint: 'sidekey approve --list',
    },
  );
}

function unclear(): SidekeyError {
  return new SidekeyError(
    'input_invalid',
    'Give an answer to one request, --list or --revoke, not more than one of them.',
    {
      hint: 'sidekey approve ID [--once | --lease | --for SPAN | --deny]',
    },
  );
}

/** `sidekey approve ID`. @throws as `respond` */
async function answerOne(
  { withState, output, answeredBy, now }: Context,
  id: string,
  said: ApprovalResponse,
): Promise<void> {
  const { approval, sentence } = await withState((state) =>
    respond(state, { id, said, by: answeredBy, at: now() }),
  );
  output.result(questionJson(approval, now()), sentence);
}

/** `sidekey approve --list`: prints pending requests and standing approvals, with commands for them. */
async function listApprovals({ withView, output, now }: Context): Promise<void> {
  const width = Math.min(100, output.display.width);
  const lines = output.isTerminal ? 6 : Infinity;
  const { at, waiting, standing, pages, proposals } = await withView(
    async ({ store, config: { admin }, vault }) => {
      const opened = await vault();
      // Opening the store may have corrected the clock.
      const at = now();
      return {
        at,
        waiting: (await store?.approvals.waiting(at)) ?? [],
        standing: (await store?.approvals.listStanding(at)) ?? [],
        pages: opened && approvalPages(admin, opened),
        proposals: (await store?.proposals.list()) ?? [],
      };
    },
  );
  const questions = waiting.map(async (question) => {
    const body = (await pages?.bodyOf(question)) ?? null;
    return [
      ...blockOf(question, at, { width, lines, body }),
      ...(pages === null
        ? question.bodyBytes === 0
          ? []
          : ['  body     with admin.listen in the config file, a short text is shown here']
        : [`  page     ${pages.pageOf(question)}`]),
      `  → sidekey approve ${question.id}`,
      ...(question.who.lease === null ? [] : [`  → sidekey approve ${question.id} --lease`]),
      `  → sidekey approve ${question.id} --for 15m`,
      `  → sidekey approve ${question.id} --deny`,
    ].join('\n');
  });
  const blocks = [
    ...(await Promise.all(questions)),
    ...standing.map((yes) =>
      [...standingBlock(yes, at, { width, lines: 2 }), `  → sidekey approve --revoke ${yes.id}`].join('\n'),
    ),
  ];
  output.result(
    {
      waiting: waiting.map((question) => questionJson(question, at)),
      standing: standing.map(standingJson),
      proposals: countWaiting(proposals, at),
    },
    [
      blocks.length === 0 ? 'No requests waiting, no approvals in force.' : blocks.join('\n\n'),
      ...(countWaiting(proposals, at) === 0 ? [] : ['', waitingText(proposals, at)]),
    ].join('\n'),
  );
}

/** `sidekey approve --revoke ID`: takes effect on the next request. @throws SidekeyError `not_found` */
async function revokeOne({ withState, output, answeredBy, now }: Context, id: string): Promise<void> {
  const ended = await withState(async ({ store, audit }) => {
    const found = (await store.approvals.listStanding(now())).find((each) => each.id === id);
    if (found === undefined) throw nothingStands(id);
    const { agent, lease, grantId } = found.who;
    const event = {
      event: 'approval.revoked',
      approval: id,
      agent: agent ?? undefined,
      lease: lease ?? undefined,
      grant: grantId,
      reason: answeredBy,
    } as const;
    return recordChange(audit, event, async () => {
      const revoked = await store.approvals.revoke(id);
      if (revoked === null) throw nothingStands(id);
      return revoked;
    });
  });
  output.result(standingJson(ended), `Ended ${id}: ${beyondText(ended)} needs approval again.`);
}

function nothingStands(id: string): SidekeyError {
  return new SidekeyError(
    'not_found',
    `No approval ${id} is in force: it has ended, or was for one request only.`,
    {
      hint: 'sidekey approve --list',
    },
  );
}

/**
 * Records an answer in the audit log, then writes it to the store, which the pending request polls.
 *
 * @param by as in `Answer`
 * @returns the result as a sentence
 * @throws SidekeyError `not_found`, `approval_over`, `input_invalid` for the lease of a request that has
 * none; `audit_unavailable`, `store_unavailable`
 */
async function respond(
  { store, audit }: Pick<State, 'store' | 'audit'>,
  {
    id,
    said,
    by,
    at,
  }: { readonly id: string; readonly said: ApprovalResponse; readonly by: string; readonly at: number },
): Promise<{ readonly approval: Approval; readonly sentence: string }> {
  const found = await store.approvals.get(id);
  const asked = stillWaiting(found, id, at);
  if (said === 'lease' && asked.who.lease === null) throw underNoLease(asked);
  const answer = answerOf(said, by, at);
  const approval = await recordChange(audit, answerEvent(asked, answer), async () => {
    const answered = await store.approvals.answer(id, answer);
    // Another approver may have answered, or the question may have expired meanwhile.
    return answered ?? stillWaiting(await store.approvals.get(id), id, Infinity);
  });
  return { approval, sentence: sentenceOf(approval, said) };
}

function answerOf(said: ApprovalResponse, by: string, at: number): Answer {
  if (said === 'deny') return { at, by, outcome: 'denied' };
  const reach = typeof said === 'string' ? { kind: said } : ({ kind: 'until', at: at + said.forMs } as const);
  return { at, by, outcome: 'allowed', reach };
}

function sentenceOf(approval: Approval, said: ApprovalResponse): string {
  const { id } = approval;
  if (said === 'deny') return `Denied ${id}: the request is refused.`;
  if (said === 'once') return `Allowed ${id}: this request only.`;
  const until = said === 'lease' ? 'while the lease lasts' : `for ${spanText(said.forMs)}`;
  return `Allowed ${id}, and ${beyondText(approval)}, ${until}.`;
}

/** @throws SidekeyError `not_found`, `approval_over` */
function stillWaiting(approval: Approval | null, id: string, at: number): Approval {
  const hint = 'sidekey approve --list';
  if (approval === null) {
    throw new SidekeyError(
      'not_found',
      `No request ${id} is waiting: it timed out, its client left, or the ID is wrong.`,
      { hint },
    );
  }
  const { answer } = approval;
  if (answer !== null) {
    const said = answer.outcome === 'denied' ? 'no' : 'yes';
    throw new SidekeyError(
      'approval_over',
      `The request ${id} was answered before: ${said}, by ${answer.by}.`,
      {
        hint:
          answer.outcome === 'denied' || answer.reach.kind === 'once'
            ? hint
            : `sidekey approve --revoke ${id}`,
      },
    );
  }
  if (isWaiting(approval, at)) return approval;
  throw new SidekeyError('approval_over', `Too late: the request ${id} is no longer waiting.`, { hint });
}

function underNoLease({ id }: Approval): SidekeyError {
  return new SidekeyError('input_invalid', `The request ${id} has no lease.`, {
    hint: `sidekey approve ${id} --for 15m`,
  });
}
