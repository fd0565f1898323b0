import type { Context } from '../context.ts';
import type { ConnectOptions } from '../../operations/connect/request.ts';
import { details } from '../display.ts';
import { spanText, when } from '../../operations/format.ts';
import { getGrant } from '../../operations/grant.ts';
import { grantRemedy } from '../../operations/lookup.ts';
import { type Grant, titleOf } from '../../domain/grant.ts';
import { inputInvalid } from '../../lib/errors.ts';
import type { CommandRow } from '../command.ts';
import { optionRows, perform } from '../operation-command.ts';
import { grantArgument, ownerWords, sourceOptions } from './words.ts';

interface Options extends Pick<ConnectOptions, 'sourceTtl' | 'sourceForm'> {
  readonly user?: string;
  /** False: sends nothing to the source or the provider. */
  readonly verify?: boolean;
}

/**
 * `sidekey grant source`: shows the source of a grant, or reconnects the grant with another one.
 *
 * @throws SidekeyError `input_invalid` if it has none; errors of `connect`
 */
async function showOrSet(
  context: Context,
  reference: string,
  written: string | undefined,
  { user, ...options }: Options,
): Promise<void> {
  const { output } = context;
  const given = { words: ownerWords, options: { user }, fixed: { grant: reference } };
  const { result, at } = await perform(context, getGrant, given);
  const { grant, clocks, sealed } = result;
  const source = sealed.credential.type === 'source' ? sealed.credential : null;
  const from = written ?? source?.from;
  if (from === undefined) {
    throw inputInvalid(
      `${titleOf(grant)} has no source: its credential is stored.`,
      grantRemedy('source', grant, { source: null }),
    );
  }
  // A new source has neither the form nor the time of the one before.
  const { form, ttlMs } = written === undefined && source !== null ? source : { form: null, ttlMs: null };
  if ((written ?? options.sourceTtl ?? options.sourceForm) !== undefined) {
    const before = {
      ...(ttlMs === null ? {} : { sourceTtl: `${ttlMs / 1_000}s` }),
      ...(form === null ? {} : { sourceForm: form }),
    };
    return reconnect(context, grant, { ...before, ...options, from });
  }
  output.result(
    { id: grant.id, name: grant.name, user: grant.user, source: from, form, ttl: ttlMs && ttlMs / 1_000 },
    details(output.display, titleOf(grant), {
      source: from,
      form: form ?? 'recognized',
      'kept in memory': ttlMs === null ? 'until its end, or 5 min' : `at most ${spanText(ttlMs)}`,
      'last asked': clocks.refreshedAt === null ? 'never' : when(clocks.refreshedAt, at),
      'last error': clocks.failure?.text ?? null,
    }),
  );
}

/** Reconnects a grant. It keeps its id, its audience and its domains. */
async function reconnect(
  context: Context,
  { name, user, provider }: Grant,
  options: Omit<Options, 'user'> & { readonly from: string },
): Promise<void> {
  // Loaded on use: other commands of the group need no flow.
  const { connect } = await import('../connect/connect.ts');
  return connect(context, provider, { ...options, name, user, replace: true, keepsAudience: true });
}

export const sourceCommandRow: CommandRow = {
  name: 'source',
  summary: 'show or set the source that a credential is asked from',
  arguments: [...grantArgument, ['[source]', 'gh, op://…, file:PATH, command:…; all: docs/sources.md']],
  options: [
    ...optionRows(getGrant, ownerWords),
    ...sourceOptions,
    ['--no-verify', 'do not ask the source and the provider now'],
  ],
  examples: ['sidekey grant source github', 'sidekey grant source github op://work/github/token'],
  load: async () => showOrSet,
};
