import type { Context } from '../context.ts';
import { connect } from '../connect/connect.ts';
import type { SourceOptions } from '../connect/flows/source.ts';
import { details } from '../display.ts';
import { spanText, when } from '../../operations/format.ts';
import { pickGrant } from '../../operations/lookup.ts';
import { failureOf } from '../../operations/grant-clocks.ts';
import { type Grant, titleOf } from '../../domain/grant.ts';
import { grantGone } from '../../grants/keep.ts';
import { inputInvalid } from '../../lib/errors.ts';

interface Options extends SourceOptions {
  readonly user?: string;
  /** False: sends nothing to the source or the provider. */
  readonly verify?: boolean;
}

/**
 * `sidekey grant source`: shows the source of a grant, or reconnects the grant with another one.
 *
 * @throws SidekeyError `input_invalid` if it has none; errors of `connect`
 */
export async function grantSource(
  context: Context,
  reference: string,
  written: string | undefined,
  { user, ...options }: Options,
): Promise<void> {
  const { output, now } = context;
  const { grant, source, activity } = await context.withView(async (view) => {
    const picked = pickGrant(await view.grants(), { grant: reference, user });
    const opened = await (await view.registry())?.read(picked.id);
    if (opened == null) throw grantGone();
    const { credential } = opened.sealed;
    const activity = (await view.store?.activity.get(picked.id)) ?? null;
    return { grant: opened.grant, source: credential.type === 'source' ? credential : null, activity };
  });
  const from = written ?? source?.from;
  if (from === undefined) {
    throw inputInvalid(
      `${titleOf(grant)} has no source: its credential is stored.`,
      `sidekey grant source ${grant.name} SOURCE`,
    );
  }
  const { sourceTtl, sourceForm } = options;
  if (source === null || written !== undefined) {
    return reconnect(context, grant, { ...options, from });
  }
  const { form, ttlMs } = source;
  if (sourceTtl !== undefined || sourceForm !== undefined) {
    const kept = {
      ...(ttlMs === null ? {} : { sourceTtl: `${ttlMs / 1_000}s` }),
      ...(form === null ? {} : { sourceForm: form }),
    };
    return reconnect(context, grant, { ...kept, ...options, from });
  }
  const failure = failureOf(grant, activity);
  output.result(
    { id: grant.id, name: grant.name, user: grant.user, source: from, form, ttl: ttlMs && ttlMs / 1_000 },
    details(output.display, titleOf(grant), {
      source: from,
      form: form ?? 'recognized',
      'kept in memory': ttlMs === null ? 'until its end, or 5 min' : `at most ${spanText(ttlMs)}`,
      'last asked': activity?.refreshedAt == null ? 'never' : when(activity.refreshedAt, now()),
      'last error': failure === null ? null : failure.text,
    }),
  );
}

/** Reconnects a grant. It keeps its id, its audience and its domains. */
function reconnect(
  context: Context,
  { name, user, provider }: Grant,
  options: Omit<Options, 'user'> & { readonly from: string },
): Promise<void> {
  return connect(context, provider, { ...options, name, user, replace: true, keepsAudience: true });
}
