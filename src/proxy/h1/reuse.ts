import { announcesInVain, type ResponsePlan } from './framing.ts';
import { persists } from './persistence.ts';
import type { ResponseHeadBytes } from './response-head.ts';

/**
 * Whether an upstream connection can be used for another request when this response is over. Where it cannot, or where
 * bytes have come that nobody asked for, what still comes on it is not to be taken for an answer.
 */
export function isReusable(head: ResponseHeadBytes, plan: ResponsePlan): boolean {
  if (plan.kind === 'until_close' || plan.kind === 'tunnel' || head.status === 101) return false;
  return persists(head) && !announcesInVain(head);
}
