import { randomUUID } from 'node:crypto';
import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import { reachesGrant, type Binding } from '../../grants/binding.ts';
import type { Grant } from '../../grants/grant.ts';
import { hashToken } from '../../proxy/agent.ts';
import type { AgentRecord, GrantPolicy, LeaseRecord } from '../../store/rights.ts';
import { grantReference, namedGrant } from '../agent/bindings.ts';
import { pickAgent, unknownAgent } from '../agent/pick.ts';
import { newSecret } from '../agent/token.ts';
import type { Context } from '../context.ts';
import { proxyUrl } from '../proxy-url.ts';
import { readSpan } from '../span.ts';
import { visible } from '../table.ts';
import { whatEndsBefore } from './outlives.ts';
import { cappedText, ttlFor } from './ttl.ts';
import { leaseClockText, leaseJson } from './words.ts';

/** What a lease is to be. */
export interface CreateOptions {
  readonly agent: string;
  readonly grant: readonly string[];
  readonly purpose: string;
  readonly ttl?: string;
  readonly idle?: string;
  readonly maxUses?: string;
}

/** Leases whose time was over so long ago are forgotten. */
const forgetAfterMs = 90 * 86_400_000;
const longestPurpose = 200;

/** `sidekey lease create`: the one time that its token is shown. */
export async function createLease(
  { withState, output, now }: Context,
  options: CreateOptions,
): Promise<void> {
  const at = now();
  const asked = options.ttl === undefined ? null : readSpan('--ttl', options.ttl);
  const idleMs = options.idle === undefined ? null : readSpan('--idle', options.idle);
  const maxUses = options.maxUses === undefined ? null : readUses('--max-uses', options.maxUses);
  const purpose = readPurpose(options.purpose);
  const secret = newSecret('lease');
  const { lease, grants, policies, ttl, listen } = await withState(
    async ({ store, audit, config, ...state }) => {
      const rights = await store.rights.read();
      const agent = pickAgent(rights.agents, options.agent);
      if (agent.disabledAt !== null) {
        throw new SidekeyError('input_invalid', `The agent ${agent.name} is disabled.`, {
          hint: `sidekey agent enable ${agent.name}`,
        });
      }
      const all = await state.grants.list();
      const chosen = [...new Set(options.grant.map((text) => namedGrant(all, text)))];
      const bindings = rights.bindings.filter((binding) => binding.agent === agent.name);
      assertReached(agent, chosen, bindings, rights.policies);
      const granted = ttlFor(asked, chosen, { config, policies: rights.policies });
      const made: LeaseRecord = {
        id: randomUUID(),
        agent: agent.name,
        tokenHash: hashToken(secret),
        grants: chosen.map(({ id }) => id),
        purpose,
        createdAt: at,
        expiresAt: at + granted.ttlMs,
        idleMs,
        renewedAt: null,
        usedAt: null,
        maxUses,
        uses: 0,
        revokedAt: null,
      };
      const event = {
        event: 'lease.created',
        agent: agent.name,
        lease: made.id,
        grant: chosen.length === 1 ? chosen[0]?.id : undefined,
        reason: chosen.length === 1 ? purpose : `${purpose} (for ${chosen.map(({ id }) => id).join(', ')})`,
      } as const;
      await audited(audit, event, async () => {
        if (!(await store.leases.insert(made))) throw unknownAgent(agent.name, []);
      });
      await store.leases.removeEnded(at - forgetAfterMs);
      const { policies: known } = rights;
      return { lease: made, grants: chosen, policies: known, ttl: granted, listen: config.proxy.listen };
    },
  );
  const warnings = whatEndsBefore(lease.expiresAt, grants, policies, at);
  const url = proxyUrl(listen, `${lease.agent}:${secret}`);
  output.result(
    { ...leaseJson(lease, at), token: secret, proxy_url: url, capped_by: ttl.cappedBy, warnings },
    `HTTPS_PROXY=${url}`,
  );
  const capped = cappedText(ttl, options.ttl);
  output.say(
    [
      `The token of the lease ${lease.id} is in that line, and is shown this once.`,
      leaseClockText(lease, at),
      ...(capped === null ? [] : [capped]),
      ...warnings,
    ].join('\n'),
  );
}

function assertReached(
  agent: AgentRecord,
  grants: readonly Grant[],
  bindings: readonly Binding[],
  policies: readonly GrantPolicy[],
): void {
  const beyond = grants.find((grant) => {
    const labels = policies.find(({ grantId }) => grantId === grant.id)?.labels ?? [];
    return !reachesGrant(bindings, agent.user, grant, labels);
  });
  if (beyond === undefined) return;
  const name = grantReference(beyond);
  throw new SidekeyError('grant_missing', `The agent ${agent.name} does not reach the grant ${name}.`, {
    hint: `sidekey agent bind ${agent.name} --grant ${name}`,
  });
}

/** @throws SidekeyError `input_invalid` */
export function readUses(option: string, text: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new SidekeyError('input_invalid', `${option} is no number of requests.`, {
    hint: `a whole number from 1 on: ${option} 10`,
  });
}

function readPurpose(text: string): string {
  const purpose = text.trim();
  if (purpose !== '' && purpose.length <= longestPurpose && visible(purpose) === purpose) return purpose;
  throw new SidekeyError('input_invalid', 'The purpose is empty, too long, or has control characters.', {
    hint: `say in up to ${longestPurpose} characters what the lease is for: --purpose "nightly report"`,
  });
}
