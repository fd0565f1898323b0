/** `GET` and `POST` of a link: what is asked, and what a person says. Plain values in, a page out. */
import { isWaiting, type Answer, type Approval } from '../approvals/approval.ts';
import type { ApprovalDesk } from '../approvals/desk.ts';
import { parseLinkPath, type ApprovalLinks } from '../approvals/link.ts';
import type { PageAnswer } from '../page.ts';
import { answeredPage, overPage, plainPage, questionPage, unknownPage } from './approval-page.ts';
import { choicesOf } from './choice.ts';

/** What answers go through. */
export interface ApprovalRouteParts {
  readonly desk: Pick<ApprovalDesk, 'get' | 'answer'>;
  readonly links: Pick<ApprovalLinks, 'verify'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A request for the page of a question. */
export interface ApprovalRequest {
  /** Without query. */
  readonly path: string;
  /** The form, as it was sent; null: a page is asked for, and nothing may come of it. */
  readonly form: string | null;
  /** Address and port of who sent it. */
  readonly from: string;
}

/**
 * The page; null: the path is no link.
 * @throws SidekeyError `store_unavailable`
 */
export async function approvalRoute(
  { path, form, from }: ApprovalRequest,
  { desk, links, now }: ApprovalRouteParts,
): Promise<PageAnswer | null> {
  const parts = parseLinkPath(path);
  if (parts === null) return null;
  // Before anything is looked up: whoever has no link reaches nothing behind it.
  const link = links.verify(parts);
  if (link === null) return unknownPage();
  const get = async () => {
    const found = await desk.get(link.id);
    return found?.expiresAt === link.expiresAt ? found : null;
  };
  const approval = await get();
  if (approval === null) return overPage(null);
  if (form === null) return shown(approval, now());
  const at = now();
  const said = new URLSearchParams(form).getAll('answer');
  const choice = choicesOf(approval, at).find(({ value }) => said.length === 1 && said[0] === value);
  if (choice === undefined) {
    return plainPage(400, 'This was no answer', ['Open the link again, and choose one of the buttons.']);
  }
  const by = `the link, from ${from}`;
  const { reach } = choice;
  const answer: Answer =
    reach === null ? { at, by, outcome: 'denied' } : { at, by, outcome: 'allowed', reach };
  if ((await desk.answer(link.id, answer)) !== null) return answeredPage(approval, answer, true, 200);
  // Somebody was quicker, or nobody and it is over.
  const after = await get();
  return after?.answer ? answeredPage(after, after.answer, false, 409) : overPage(after ?? approval);
}

function shown(approval: Approval, now: number): PageAnswer {
  if (approval.answer !== null) return answeredPage(approval, approval.answer, false, 200);
  return isWaiting(approval, now) ? questionPage(approval, now) : overPage(approval);
}
