import type { Account } from './account.ts';
import type { RefusalWithHint } from './way-out.ts';

/** What is said when a command has ended. */
export interface Summary {
  /** Null: others came through the proxy too, and who is who is not known here. */
  readonly account: Account | null;
  readonly refusals: readonly RefusalWithHint[];
  /** What a person should know of the environment, and what the log would have said. */
  readonly notes: readonly string[];
}

/** So many refusals and so many notes are told one by one. */
export const mostTold = 5;

/** For a person: one line where nothing was refused. */
export function summaryText({ account, refusals, notes }: Summary): string {
  const told = refusals.slice(0, mostTold);
  const more = refusals.length - told.length;
  return [
    ...(account === null ? [] : [`sidekey: ${countsText(account)}`]),
    ...told.map(refusalText),
    ...(more > 0 ? [`  and ${more} more: sidekey audit query --event denied`] : []),
    ...notes.map((note) => `sidekey: ${note}`),
  ].join('\n');
}

/** The same for programs. */
export function summaryJson({ account, refusals, notes }: Summary): object {
  return {
    run:
      account === null
        ? null
        : {
            requests: account.requests,
            tunnelled: account.tunnelled,
            failed: account.failed,
            refused: account.refused,
            refusals,
          },
    notes,
  };
}

function countsText({ requests, tunnelled, failed, refused }: Account): string {
  if (requests + tunnelled.length + refused === 0) return 'no request came through the proxy';
  return [
    `${requests === 0 ? 'no' : requests} request${requests > 1 ? 's' : ''} with a credential`,
    ...(tunnelled.length === 0
      ? []
      : [`${tunnelled.length} host${tunnelled.length === 1 ? '' : 's'} tunnelled`]),
    ...(failed === 0 ? [] : [`${failed} failed`]),
    ...(refused === 0 ? [] : [`${refused} refused`]),
  ].join(', ');
}

function refusalText({ host, port, code, count, hint }: RefusalWithHint): string {
  const where = host === '' ? 'what was no request' : `${host}${port === 443 ? '' : `:${port}`}`;
  const often = count === 1 ? '' : ` (${count} times)`;
  return `  ${where} ${code}${often}${hint === null ? '' : ` → ${hint}`}`;
}
