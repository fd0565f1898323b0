import type { Config } from '../../config/config.ts';
import type { Grant } from '../../grants/grant.ts';
import { grantedTtl, type GrantedTtl, type LeaseTtlLevel } from '../../grants/lease.ts';
import type { GrantPolicy } from '../../store/rights.ts';
import { grantReference } from '../agent/bindings.ts';
import { spanText } from '../span.ts';

/** What leases are measured by. */
export interface TtlFacts {
  readonly config: Pick<Config, 'leases' | 'providers'>;
  readonly policies: readonly GrantPolicy[];
}

/** How long a lease of these grants may last; `asked` in milliseconds, null: whatever is usual. */
export function ttlFor(asked: number | null, grants: readonly Grant[], facts: TtlFacts): GrantedTtl {
  return grantedTtl(
    asked,
    grants.map((grant) => levelsOf(grant, facts)),
  );
}

/** What is said of a lease that is shorter than was asked for; null: it is not. */
export function cappedText({ ttlMs, cappedBy }: GrantedTtl, asked: string | undefined): string | null {
  if (cappedBy === null) return null;
  const wanted = asked === undefined ? 'the usual time' : asked;
  return `It lasts ${spanText(ttlMs)} instead of ${wanted}: more is not allowed by ${cappedBy}.`;
}

function levelsOf(grant: Grant, { config, policies }: TtlFacts): LeaseTtlLevel[] {
  const policy = policies.find(({ grantId }) => grantId === grant.id);
  const provider = config.providers.get(grant.provider);
  const { defaultTtlMs, maxTtlMs } = config.leases;
  return [
    {
      of: `the grant ${grantReference(grant)}`,
      defaultMs: policy?.leaseDefaultMs ?? null,
      maxMs: policy?.leaseMaxMs ?? null,
    },
    { of: `the provider ${grant.provider}`, ...(provider?.lease ?? { defaultMs: null, maxMs: null }) },
    { of: 'leases.max_ttl of the config', defaultMs: defaultTtlMs, maxMs: maxTtlMs },
  ];
}
