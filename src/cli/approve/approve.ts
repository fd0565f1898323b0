import { readApprovalId } from '../../approvals/approval-id.ts';
import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { readSpan } from '../span.ts';
import type { Said } from './said.ts';

/** What the command line says. */
export interface ApproveOptions {
  readonly once?: boolean;
  readonly lease?: boolean;
  readonly for?: string;
  readonly deny?: boolean;
  readonly list?: boolean;
  /** The id of a yes that stands. */
  readonly revoke?: string;
}

/** `sidekey approve`: which of its four ways is meant. @throws SidekeyError `input_invalid` */
export async function approve(
  context: Context,
  id: string | undefined,
  options: ApproveOptions,
): Promise<void> {
  const { list = false, revoke, ...answers } = options;
  const said = saidBy(answers);
  if ([id !== undefined, list, revoke !== undefined].filter(Boolean).length > 1) throw unclear();
  if (id === undefined && said !== null) throw unclear();
  if (id !== undefined) {
    const { answerOne } = await import('./answer.ts');
    return answerOne(context, readId(id), said ?? 'once');
  }
  if (revoke !== undefined) {
    const { revokeOne } = await import('./revoke.ts');
    return revokeOne(context, readId(revoke));
  }
  const { openScreen, output } = context;
  if (list || openScreen === null || output.json) return (await import('./list.ts')).listApprovals(context);
  return (await import('./live.ts')).live(context, openScreen);
}

function saidBy({ once, lease, for: span, deny }: Omit<ApproveOptions, 'list' | 'revoke'>): Said | null {
  const said: Said[] = [
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
  throw new SidekeyError('input_invalid', 'That is no id of a request: it has eight letters and digits.', {
    hint: 'sidekey approve --list',
  });
}

function unclear(): SidekeyError {
  return new SidekeyError('input_invalid', 'Say one thing: an answer to one request, --list or --revoke.', {
    hint: 'sidekey approve ID [--once | --lease | --for SPAN | --deny]',
  });
}
