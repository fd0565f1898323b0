import { titleOf } from '../../domain/grant.ts';
import { withHint } from '../../lib/hint.ts';
import { counted, when } from '../../operations/format.ts';
import { compareScopes } from '../../operations/grant-scopes.ts';
import type { CommandRow } from '../command.ts';
import type { Context } from '../context.ts';
import { details, wrapMessage } from '../display.ts';
import { type GivenOptions, optionRows, perform } from '../operation-command.ts';
import { grantArgument, ownerWords } from './words.ts';

const words = {
  ...ownerWords,
  since: {
    summary: 'only requests from this time on: 7d, 2026-11-21 (default: the whole log)',
    value: 'time',
  },
} as const;

/** `sidekey grant scopes`: prints the scopes that the requests of a grant needed. */
async function scopes(context: Context, reference: string, options: GivenOptions): Promise<void> {
  const { output } = context;
  const given = { words, options, fixed: { grant: reference } };
  const { result, answer, at } = await perform(context, compareScopes, given);
  const { grant, from, hint } = result;
  const { requests } = answer.log;
  const unknown = answer.endpoints.flatMap(({ host, endpoint, known }) =>
    known ? [] : [endpoint.replace(' ', ` ${host}`)],
  );
  const verdict =
    requests === 0
      ? 'No request with this grant was found, so no scope can be judged.'
      : answer.removable.length === 0
        ? 'Nothing can be removed.'
        : answer.smallest
          ? 'The scopes under enough are the smallest set that would do for these requests.'
          : 'The scopes under enough would do. They may not be the smallest set: what was not judged is kept.';
  output.result(
    answer,
    [
      details(output.display, `Scopes of ${titleOf(grant)}`, {
        log: `${from === null ? 'empty' : `since ${when(from, at)}`}, of this machine: ${counted(requests, 'request')}`,
        table: answer.table ?? `none for the provider ${grant.provider}`,
        granted: list(answer.scopes),
        enough: list(answer.enough) ?? 'none',
        'not needed': list(answer.removable),
        'not judged': list(answer.unjudged),
        'not in the table': list(unknown, '; '),
      }),
      wrapMessage(withHint(verdict, hint), output.display),
    ].join('\n'),
  );
}

function list(names: readonly string[], between = ' '): string | null {
  return names.length === 0 ? null : names.join(between);
}

export const scopesCommandRow: CommandRow = {
  name: 'scopes',
  summary: 'compare its scopes with the endpoints in the audit log, and show what would do',
  arguments: grantArgument,
  options: optionRows(compareScopes, words),
  examples: ['sidekey grant scopes github', 'sidekey grant scopes google --since 30d --json'],
  load: async () => scopes,
};
