import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { type Authority, authorityText, defaultPort } from '../proxy/policy/authority.ts';
import {
  type DomainPattern,
  isPattern,
  matchesAnyPattern,
  parsePattern,
} from '../proxy/policy/domain-map.ts';
import type { Binding } from '../domain/lease.ts';

/** Lists of the hosts to which a caller may go without a credential (`--egress`). */

/** Host lists of the agent and of the lease. A host must be in each of them. No list: any host. */
export type EgressLists = readonly (readonly DomainPattern[])[];

/** The word for no host in a list. A list with only this word allows no host. */
export const noHost = 'none';

/**
 * Returns the lists of an agent with these bindings, and of its lease.
 *
 * @param ofLease undefined: the lease has no list, or there is none
 */
export function egressOf(bindings: readonly Binding[], ofLease: readonly string[] = []): EgressLists {
  const ofAgent = bindings.filter(({ kind }) => kind === 'egress').map(({ value }) => value);
  return [ofAgent, ofLease]
    .filter((hosts) => hosts.length > 0)
    .map((hosts) =>
      hosts
        .filter((host) => host !== noHost)
        .map(parsePattern)
        .filter(isPattern),
    );
}

/** Returns the hosts of `--egress` as patterns of one form. @throws SidekeyError `input_invalid` */
export function egressHosts(hosts: readonly string[]): readonly string[] {
  return hosts.map((host) => {
    const pattern = parsePattern(host);
    if (isPattern(pattern)) return pattern.text;
    throw inputInvalid(`A host of --egress ${pattern.problem}.`, "--egress pypi.org '*.npmjs.org'");
  });
}

/** A caller of `egressRefusal`. */
interface Caller {
  /** Name of the agent; null: a caller without a token. */
  readonly agent: string | null;
  /** The lease; null: the token does not belong to a lease. */
  readonly lease: object | null;
  readonly egressNow: () => EgressLists | Promise<EgressLists>;
}

/** Returns why the current lists refuse a host without a credential; null if they allow it. */
export async function egressRefusal(
  { agent, lease, egressNow }: Caller,
  authority: Authority,
): Promise<SidekeyError | null> {
  const lists = await egressNow();
  // A CONNECT has no scheme: its default ports are those of both.
  const { port } = authority;
  const asHttp: Authority = port === defaultPort.http ? { ...authority, scheme: 'http' } : authority;
  if (lists.every((hosts) => matchesAnyPattern(hosts, asHttp))) return null;
  const where = authorityText(asHttp);
  const more = lease === null ? '' : `, and a lease with an own list needs --egress ${where} too`;
  return new SidekeyError('domain_not_allowed', `The agent ${agent} may not go to ${where}.`, {
    hint: hintOf`${remedy('agent.bind', { agent, egress: [where] })}${more}`,
  });
}
