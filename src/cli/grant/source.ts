import type { State } from '../../app/state.ts';
import { recordChange } from '../../audit/log.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { type SourceOptions, writtenSource } from '../connect/flows/source.ts';
import { details } from '../display.ts';
import { spanText, when } from '../format.ts';
import { pickGrant } from '../pick.ts';
import { commandParts } from './refresh.ts';
import { failureOf } from './format.ts';
import type { SourceCredential } from '../../grants/credential.ts';
import { type Grant, titleOf } from '../../grants/grant.ts';
import { grantGone } from '../../grants/keep.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { fitted } from '../../grants/source-values.ts';
import { describeSource } from '../../grants/sources/source.ts';
import { stateRefusal } from '../../grants/token-result.ts';
import { assertWorks } from '../../grants/verify.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';

interface Options extends SourceOptions {
  readonly user?: string;
  /** False: neither the source nor the provider is asked. */
  readonly verify?: boolean;
}

/** `sidekey grant source`: shows the source of a grant, or puts another one in the place of its credential. */
export async function grantSource(
  context: Context,
  reference: string,
  written: string | undefined,
  options: Options,
): Promise<void> {
  const { output, now } = context;
  const found = await context.withState(async (state) => {
    const picked = pickGrant(await state.grants.list(), { grant: reference, user: options.user });
    const opened = await state.grants.read(picked.id);
    if (opened === null) throw grantGone();
    const isChange =
      written !== undefined || options.sourceTtl !== undefined || options.sourceForm !== undefined;
    const now = isChange ? await change(context, state, opened, written, options) : opened;
    return { ...now, activity: await state.store.activity.get(picked.id) };
  });
  const { grant, sealed, activity } = found;
  const source = sourceIn({ grant, sealed });
  const at = now();
  const failure = failureOf(grant, activity);
  output.result(
    {
      id: grant.id,
      name: grant.name,
      user: grant.user,
      source: source.from,
      form: source.form,
      ttl: source.ttlMs === null ? null : source.ttlMs / 1_000,
    },
    details(output.display, titleOf(grant), {
      source: source.from,
      form: source.form ?? 'recognized',
      'kept in memory':
        source.ttlMs === null ? 'until its end, or 5 min' : `at most ${spanText(source.ttlMs)}`,
      'last asked': activity?.refreshedAt == null ? 'never' : when(activity.refreshedAt, at),
      'last error': failure === null ? null : failure.text,
    }),
  );
}

function sourceIn({ grant, sealed: { credential } }: OpenedGrant): SourceCredential {
  if (credential.type === 'source') return credential;
  throw inputInvalid(
    `${titleOf(grant)} has no source: its credential is stored.`,
    `sidekey grant source ${grant.name} SOURCE`,
  );
}

/** @throws SidekeyError `input_invalid`; `source_failed`; errors of `assertWorks` and the registry */
async function change(
  context: Context,
  state: State,
  opened: OpenedGrant,
  written: string | undefined,
  options: Options,
): Promise<OpenedGrant> {
  const { grant, sealed } = opened;
  const { config, grants, audit } = state;
  const provider = config.providers.get(grant.provider);
  const over = stateRefusal(grant, provider);
  if (over !== null) throw new SidekeyError(over.code, over.message, { hint: over.hint });
  const credential = writtenSource(written ?? sourceIn(opened).from, options, context);
  if (provider !== undefined && options.verify !== false) {
    await withUpstreamClient(config, context.env, async (upstream) => {
      const { signal } = new AbortController();
      const { audience } = sealed;
      const question = { grant: '', revision: 0, credential, audience, isRefused: false, signal };
      const value = await commandParts({ context, state, upstream }).sources.ask(question);
      const answer = { ...sealed, credential: fitted(value.credential, provider) };
      await assertWorks({ state, provider, user: grant.user, upstream, signal }, answer, {
        isIssued: false,
        isWanted: true,
      });
    });
  }
  const { id, user } = grant;
  const reason = `source ${describeSource(credential)} (was ${was(opened)})`;
  const changed = await recordChange(audit, { event: 'grant.changed', grant: id, user, reason }, () =>
    replaceCredential(grants, grant, { ...sealed, credential }),
  );
  return { grant: changed, sealed: { ...sealed, credential } };
}

function was({ sealed: { credential } }: OpenedGrant): string {
  return credential.type === 'source' ? describeSource(credential) : 'stored';
}

async function replaceCredential(
  grants: State['grants'],
  grant: Grant,
  sealed: OpenedGrant['sealed'],
): Promise<Grant> {
  const changed = await grants.replaceCredential(grant, sealed);
  if (changed === null)
    throw inputInvalid(`${titleOf(grant)} was changed at the same time.`, 'run the command again');
  return changed;
}
