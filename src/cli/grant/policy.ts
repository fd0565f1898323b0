import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { GrantPolicy } from '../../store/rights.ts';
import type { Context } from '../context.ts';
import { checkName } from '../names.ts';
import { readEnd, readSpan, spanText } from '../span.ts';
import { details } from '../table.ts';
import { grantGone, pickGrant } from './pick.ts';
import { changeText, policyJson, policyRows } from './policy-words.ts';
import { titleOf } from './words.ts';

/** What is set; `none` takes a value away. */
export interface PolicyOptions {
  readonly user?: string;
  readonly expires?: string;
  readonly ttl?: string;
  readonly maxTtl?: string;
  readonly leaseTtl?: string;
  readonly maxLeaseTtl?: string;
  /** All of them, or false: none. */
  readonly label?: readonly string[] | false;
}

/** `sidekey grant policy`: what people set for a grant; without options it is shown. */
export async function grantPolicy(
  { withState, withView, output, now }: Context,
  reference: string,
  options: PolicyOptions,
): Promise<void> {
  const at = now();
  const change = changeOf(options, at);
  const asked = { grant: reference, user: options.user };
  const { grant, policy } =
    Object.keys(change).length === 0
      ? await withView(async ({ store, grants }) => {
          const found = pickGrant(await grants(), asked);
          return { grant: found, policy: (await store?.grantPolicies.get(found.id)) ?? null };
        })
      : await withState(async ({ store, audit, grants }) => {
          const found = pickGrant(await grants.list(), asked);
          const before = await store.grantPolicies.get(found.id);
          const reason = changeText(before, { ...(before ?? noPolicy(found.id)), ...change });
          const event = { event: 'grant.policy_changed', grant: found.id, user: found.user, reason } as const;
          await audited(audit, event, async () => {
            if (!(await store.grantPolicies.set(found.id, change))) throw grantGone();
          });
          return { grant: found, policy: await store.grantPolicies.get(found.id) };
        });
  const { 'given until': end, labels, ...spans } = policyRows(policy, at);
  output.result(
    { id: grant.id, name: grant.name, user: grant.user, ...policyJson(policy) },
    details(titleOf(grant), { 'given until': end ?? 'no end', ...spans, labels: labels ?? 'none' }),
  );
}

function changeOf(
  { expires, ttl, maxTtl, leaseTtl, maxLeaseTtl, label }: PolicyOptions,
  now: number,
): Partial<Omit<GrantPolicy, 'grantId'>> {
  if (Array.isArray(label)) for (const each of label) checkName('label', each);
  const change = {
    ...(expires === undefined
      ? {}
      : { expiresAt: expires === 'none' ? null : readEnd('--expires', expires, now) }),
    ...(ttl === undefined ? {} : { defaultTtlMs: spanOrNone('--ttl', ttl) }),
    ...(maxTtl === undefined ? {} : { maxTtlMs: spanOrNone('--max-ttl', maxTtl) }),
    ...(leaseTtl === undefined ? {} : { leaseDefaultMs: spanOrNone('--lease-ttl', leaseTtl) }),
    ...(maxLeaseTtl === undefined ? {} : { leaseMaxMs: spanOrNone('--max-lease-ttl', maxLeaseTtl) }),
    ...(label === undefined ? {} : { labels: label === false ? [] : [...new Set(label)] }),
  };
  const max = change.maxTtlMs ?? null;
  if (max !== null && change.expiresAt != null && change.expiresAt > now + max) {
    throw new SidekeyError('input_invalid', '--expires is later than --max-ttl allows.', {
      hint: `--expires ${spanText(max)}, or a longer --max-ttl`,
    });
  }
  return change;
}

function spanOrNone(option: string, text: string): number | null {
  return text === 'none' ? null : readSpan(option, text);
}

function noPolicy(grantId: string): GrantPolicy {
  const unset = {
    expiresAt: null,
    defaultTtlMs: null,
    maxTtlMs: null,
    leaseDefaultMs: null,
    leaseMaxMs: null,
  };
  return { grantId, ...unset, labels: [] };
}
