import type { Context } from '../context.ts';
import { blockOf, questionJson, standingBlock, standingJson } from './words.ts';

/** Lines are as long as this where nobody sees them at once. */
const width = 100;

/** `sidekey approve --list`: what waits and what stands, with the commands that answer. */
export async function listApprovals({ withView, output, now }: Context): Promise<void> {
  const at = now();
  const { waiting, standing } = await withView(async ({ store }) => ({
    waiting: (await store?.approvals.waiting(at)) ?? [],
    standing: (await store?.approvals.listStanding(at)) ?? [],
  }));
  const blocks = [
    ...waiting.map((question) =>
      [
        ...blockOf(question, at, { width, lines: 6 }),
        `  → sidekey approve ${question.id}${question.who.lease === null ? '' : ' [--lease]'}`,
        `  → sidekey approve ${question.id} --for 15m`,
        `  → sidekey approve ${question.id} --deny`,
      ].join('\n'),
    ),
    ...standing.map((yes) =>
      [...standingBlock(yes, at, { width, lines: 2 }), `  → sidekey approve --revoke ${yes.id}`].join('\n'),
    ),
  ];
  output.result(
    {
      waiting: waiting.map((question) => questionJson(question, at)),
      standing: standing.map(standingJson),
    },
    blocks.length === 0 ? 'Nothing waits, and no yes stands.' : blocks.join('\n\n'),
  );
}
