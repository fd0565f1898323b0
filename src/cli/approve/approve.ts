import {
  answerApproval,
  listApprovals,
  listStandingApprovals,
  revokeApproval,
} from '../../operations/approval.ts';
import { waitingText } from '../../operations/format.ts';
import { inputInvalid, type SidekeyError } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { type GivenOptions, perform } from '../operation-command.ts';
import { beyondText, blockOf, sentenceOf, standingBlock } from './format.ts';
import { approvalPages } from './pages.ts';

/** `sidekey approve`: selects one of its four modes. @throws SidekeyError `input_invalid` */
export async function approve(
  context: Context,
  id: string | undefined,
  { list = false, revoke, ...options }: GivenOptions,
): Promise<void> {
  const answers = (['once', 'lease', 'for', 'deny'] as const).filter((each) => options[each] !== undefined);
  const isUnclear =
    answers.length > 1 ||
    [id !== undefined, list, revoke !== undefined].filter(Boolean).length > 1 ||
    (id === undefined && answers.length > 0);
  if (isUnclear) throw unclear();
  if (id !== undefined) return answerOne(context, { approval: id, answer: answers[0] ?? 'once' }, options);
  const { openScreen, output } = context;
  if (revoke !== undefined) {
    const { result, answer } = await perform(context, revokeApproval, { fixed: { approval: revoke } });
    return output.result(answer, `Ended ${result.id}: ${beyondText(result)} needs approval again.`);
  }
  if (list === true || openScreen === null || output.json) return listAll(context);
  return (await import('./live.ts')).live(context, openScreen);
}

function unclear(): SidekeyError {
  return inputInvalid(
    'Give an answer to one request, --list or --revoke, not more than one of them.',
    'sidekey approve ID [--once | --lease | --for SPAN | --deny]',
  );
}

/** `sidekey approve ID` */
async function answerOne(
  context: Context,
  fixed: { readonly approval: string; readonly answer: 'once' | 'lease' | 'for' | 'deny' },
  options: GivenOptions,
): Promise<void> {
  const given = { words: { span: { name: 'for' } }, options, fixed };
  const { result, answer } = await perform(context, answerApproval, given);
  context.output.result(answer, sentenceOf(result));
}

/** `sidekey approve --list`: prints pending requests and standing approvals, with commands for them. */
async function listAll(context: Context): Promise<void> {
  const { output, now, withView } = context;
  const width = Math.min(100, output.display.width);
  const lines = output.isTerminal ? 6 : Infinity;
  const { at, waiting, standing, pages, proposals } = await withView(async (view) => {
    const opened: Context = { ...context, withView: (use) => use(view) };
    const vault = await view.vault();
    return {
      waiting: await perform(opened, listApprovals),
      standing: await perform(opened, listStandingApprovals),
      pages: vault && approvalPages(view.config.admin, vault),
      proposals: (await view.store?.proposals.countWaiting(now())) ?? 0,
      at: now(),
    };
  });
  const questions = waiting.result.rows.map(async (question) => {
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
    ...standing.result.rows.map((yes) =>
      [...standingBlock(yes, at, { width, lines: 2 }), `  → sidekey approve --revoke ${yes.id}`].join('\n'),
    ),
  ];
  output.result(
    { waiting: waiting.answer, standing: standing.answer, proposals },
    [
      blocks.length === 0 ? 'No requests waiting, no approvals in force.' : blocks.join('\n\n'),
      ...(proposals === 0 ? [] : ['', waitingText(proposals)]),
    ].join('\n'),
  );
  if (waiting.result.next !== null || standing.result.next !== null)
    output.note({ more: true }, 'There are more: answer or end some of these, and list again.');
}
