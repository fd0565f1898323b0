import type { RequestHeadBytes } from '../h1/request-head.ts';
import type { Reply } from '../message.ts';

/** Whether a request has an expectation that nobody here can meet (RFC 9110 §10.1.1): then it is answered so. */
export function answerUnmet(head: RequestHeadBytes, reply: Reply): boolean {
  if (head.version === '1.0' || !head.has('expect') || head.lists('expect', '100-continue')) return false;
  refuseExpectation(reply);
  return true;
}

/** Answers a request whose expectation is not met. */
export function refuseExpectation(reply: Reply): void {
  reply.head(417, 'Expectation Failed', ['Content-Length', '0']);
  reply.end([]);
}
