import type { State } from '../../app/state.ts';
import { recordChange } from '../../audit/log.ts';
import type { Context } from '../context.ts';
import { details } from '../display.ts';
import { checkName, readEnd, readSpan, spanText } from '../../operations/format.ts';
import { scopesToAsk } from '../connect/provider-settings.ts';
import { changeText, scopesOf, settingsJson, settingsRows } from './format.ts';
import { narrowGrant } from '../../operations/narrow-grant.ts';
import { changingParts } from '../operation-command.ts';
import { pickGrant } from '../../operations/lookup.ts';
import { type Grant, isName, titleOf } from '../../domain/grant.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { noPolicy } from '../../store/schema.ts';
import { settingsOf } from '../../grants/metadata.ts';
import type { GrantPolicy } from '../../store/store.ts';
import { grantGone } from '../../grants/keep.ts';

/** Options of `grant set`; `none` removes a value. */
export interface SetOptions {
  readonly user?: string;
  readonly expires?: string;
  readonly ttl?: string;
  readonly maxTtl?: string;
  readonly leaseTtl?: string;
  readonly maxLeaseTtl?: string;
  /** New labels; false: no labels. */
  readonly label?: readonly string[] | false;
  /** `KEY=VALUE`. An empty value removes the key. */
  readonly meta?: readonly string[];
  /** Scopes to keep. */
  readonly scope?: readonly string[];
}

type Change = Partial<Omit<GrantPolicy, 'grantId'>>;

/**
 * `sidekey grant set`: changes the expiry, the lease times, the labels, the metadata or the scopes of a
 * grant. `--ttl` sets the expiry, unless `--expires` does. It is stored for the hint about an expired grant.
 *
 * @throws SidekeyError errors of `pickGrant` and `narrowGrant`; `input_invalid` if nothing is to change, or
 * the expiry is later than the maximum
 */
export async function setGrant(context: Context, reference: string, options: SetOptions): Promise<void> {
  const { output, now } = context;
  const at = now();
  const change = changeOf(options, at);
  const isEmpty = Object.keys(change).length === 0;
  const scopes = options.scope && scopesToAsk(options.scope, { scopes: [] }, null);
  // Changes only one of both, because the other could fail.
  if (scopes !== undefined && !isEmpty) {
    throw new SidekeyError('input_invalid', 'The scopes are changed without other settings.', {
      hint: `sidekey grant set ${reference} --scope '${scopes.join(' ')}'`,
    });
  }
  if (isEmpty && scopes === undefined) {
    throw new SidekeyError('input_invalid', 'No option says what to change.', {
      hint: `sidekey grant set ${reference} --expires 30d; sidekey grant show ${reference} shows the present values`,
    });
  }
  const { grant, policy } = await context.withState(async (state) => {
    const found = pickGrant(await state.grants.list(), { grant: reference, user: options.user });
    if (scopes === undefined) await changePolicy(state, found, change, at);
    else await narrowGrant(await changingParts(context, state), found, scopes);
    const opened = await state.grants.read(found.id);
    if (opened === null) throw grantGone();
    return { grant: opened.grant, policy: settingsOf(opened, await state.store.grantPolicies.get(found.id)) };
  });
  const { expires, labels, ...rest } = settingsRows(policy, at);
  output.result(
    {
      id: grant.id,
      name: grant.name,
      user: grant.user,
      scopes: grant.scopes,
      ...settingsJson(policy),
    },
    details(output.display, titleOf(grant), {
      scopes: scopesOf(grant),
      expires: expires ?? 'no end',
      ...rest,
      labels: labels ?? 'none',
    }),
  );
}

/**
 * Changes the settings of a grant. Adds metadata; an empty value removes its key.
 *
 * @throws SidekeyError `input_invalid`, `audit_unavailable`, `grant_missing`; errors of the vault
 */
export async function changePolicy(
  { store, grants, audit }: Pick<State, 'store' | 'grants' | 'audit'>,
  { id, user }: Pick<Grant, 'id' | 'user'>,
  change: Change,
  at: number,
): Promise<void> {
  const before = (await store.grantPolicies.get(id)) ?? noPolicy(id);
  const after = { ...before, ...change };
  checkMaximum(change, after.maxTtlMs, at);
  const event = { event: 'grant.changed', grant: id, user, reason: changeText(before, after) } as const;
  await recordChange(audit, event, async () => {
    const isSealed = await grants.changeMetadata(id, { ...before.metadata, ...change.metadata });
    if (!isSealed || !(await store.grantPolicies.set(id, { ...change, metadata: {} }))) throw grantGone();
  });
}

/** Parses `--meta KEY=VALUE`. @throws SidekeyError `input_invalid` */
export function metadataOf(written: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    written.map((text) => {
      const [, key = '', value] = /^([^=]*)=(\P{Cc}{0,256})$/u.exec(text) ?? [];
      if (value !== undefined && isName(key)) return [key, value];
      throw new SidekeyError('input_invalid', '--meta is not KEY=VALUE, or longer than 256 characters.', {
        hint: '--meta team=infra; --meta team= removes the key',
      });
    }),
  );
}

/** @throws SidekeyError `input_invalid` */
function changeOf(
  { expires, ttl, maxTtl, leaseTtl, maxLeaseTtl, label, meta }: SetOptions,
  now: number,
): Change {
  if (Array.isArray(label)) for (const each of label) checkName('label', each);
  const span = spanOrNone('--ttl', ttl);
  const end = span == null ? undefined : now + span;
  const change = {
    defaultTtlMs: span,
    expiresAt: expires === undefined ? end : expires === 'none' ? null : readEnd('--expires', expires, now),
    maxTtlMs: spanOrNone('--max-ttl', maxTtl),
    leaseDefaultMs: spanOrNone('--lease-ttl', leaseTtl),
    leaseMaxMs: spanOrNone('--max-lease-ttl', maxLeaseTtl),
    labels: label === undefined ? undefined : label === false ? [] : [...new Set(label)],
    metadata: meta && metadataOf(meta),
  };
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
}

/** @throws SidekeyError `input_invalid` if the new expiry is later than the maximum */
function checkMaximum({ expiresAt = null }: Change, max: number | null, now: number): void {
  if (max === null || expiresAt === null || expiresAt <= now + max) return;
  throw new SidekeyError(
    'input_invalid',
    `The expiry is later than the maximum of ${spanText(max)} from now.`,
    {
      hint: `--expires ${spanText(max)}, or a longer --max-ttl`,
    },
  );
}

function spanOrNone(option: string, text: string | undefined): number | null | undefined {
  return text === undefined ? undefined : text === 'none' ? null : readSpan(option, text);
}
