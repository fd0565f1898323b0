import { all, call, type Listing, type Me, more, path, type View } from './api.ts';
import type { Domain } from './rules.tsx';
import { action, badge, fill, h, table, time } from './dom.ts';

interface Agent {
  readonly name: string;
  readonly state: string;
  readonly acts_for: string | null;
  readonly live_tokens: number;
  readonly active_leases: number;
  readonly used_at: string | null;
}

interface Caller {
  readonly name: string;
  readonly state: string;
  /** Grants that the caller can use; null: every grant. */
  readonly reaches: readonly { readonly id: string }[] | null;
}

interface Lease {
  readonly id: string;
  readonly agent: string;
  readonly purpose: string;
  readonly ends_at: string | null;
  readonly uses: number | null;
  readonly max_uses: number | null;
  readonly used_at: string | null;
}

/** Lists that are shown from their beginning. */
interface Shown {
  readonly agents?: Listing<Agent>;
  readonly leases?: Listing<Lease>;
}

/** Agents, their leases, and the domains that each agent may call. */
export const access: View = (main, me) => draw(main, me, {});

async function draw(main: HTMLElement, me: Me, shown: Shown): Promise<void> {
  const [agentList, leaseList, domains, status] = await Promise.all([
    shown.agents ?? more<Agent>('/v2/agents'),
    shown.leases ?? more<Lease>('/v2/leases'),
    all<Domain>('/v2/domains'),
    call<{ readonly proxy: { readonly agents: string }; readonly domains: { readonly unmatched: string } }>(
      'GET /v2/status',
    ),
  ]);
  const [agents, leases] = [agentList.entries, leaseList.entries];
  const callers = await Promise.all(agents.map(({ name }) => call<Caller>(path`GET /v2/agents/${name}`)));
  if (status.proxy.agents === 'optional')
    callers.push({ name: 'no token, on this machine', state: 'enabled', reaches: null });
  const mayChange = me.scopes.includes('access:write');
  const again = (work: () => Promise<unknown>) => async () => {
    await work();
    await draw(main, me, {});
  };
  const further = (label: string, next: string | null, read: () => Promise<Shown>) =>
    next !== null &&
    action(
      label,
      async () => draw(main, me, { agents: agentList, leases: leaseList, ...(await read()) }),
      'quiet',
    );
  fill(
    main,
    table(
      'Agents',
      ['Agent', 'State', 'Acts for', 'Tokens', 'Leases', 'Last use', 'Actions'],
      agents.map((agent) => [
        agent.name,
        badge(agent.state),
        agent.acts_for ?? '–',
        agent.live_tokens,
        agent.active_leases,
        time(agent.used_at),
        mayChange &&
          action(
            agent.state === 'enabled' ? 'Disable' : 'Enable',
            again(() => call(path`PATCH /v2/agents/${agent.name}`, { disabled: agent.state === 'enabled' })),
            'quiet',
          ),
      ]),
      ['There are no agents yet. ', h('code', {}, 'sidekey agent create NAME --grant GRANT')],
    ),
    further('More agents', agentList.next, async () => ({ agents: await more('/v2/agents', agentList) })),
    h('h2', {}, 'Leases'),
    table(
      'Active leases',
      ['Agent', 'Purpose', 'Ends', 'Uses', 'Last use', 'Actions'],
      leases.map((lease) => [
        lease.agent,
        lease.purpose,
        time(lease.ends_at),
        lease.max_uses === null ? '–' : `${lease.uses} of ${lease.max_uses}`,
        time(lease.used_at),
        mayChange &&
          action(
            'End',
            again(() => call(path`POST /v2/leases/${lease.id}/revoke`)),
            'quiet',
          ),
      ]),
      'No lease is active.',
    ),
    further('More leases', leaseList.next, async () => ({ leases: await more('/v2/leases', leaseList) })),
    h('h2', {}, 'Who may call what'),
    h(
      'div',
      { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Who may call what' },
      table(
        'Domains, and the callers that get a credential there',
        ['Domain', ...callers.map(({ name }) => name)],
        domains
          .filter(({ action: what }) => what === 'grant')
          .map((domain) => [domain.domain, ...callers.map((caller) => answerFor(caller, domain))]),
        'No domain has a grant.',
      ),
    ),
    h(
      'p',
      { class: 'none' },
      status.domains.unmatched === 'deny'
        ? 'Domains that are not in the map are refused.'
        : 'Domains that are not in the map are reached by everybody, without a credential.',
    ),
  );
}

/** Returns the access of a caller to a domain, with the grant name: `yes`, `by the rules`, `asks`. */
function answerFor(
  { state, reaches }: Caller,
  { grants = [], rules = [], default: rest = 'allow', mode }: Domain,
): string {
  const own = grants.filter(({ id }) => reaches === null || reaches.some((grant) => grant.id === id));
  const usable = own.filter((grant) => grant.state === 'active');
  const outcomes = mode === 'report' ? ['allow'] : [...rules.map(({ outcome }) => outcome), rest];
  const may = ['allow', 'approve'].filter((each) => outcomes.includes(each));
  if (state !== 'enabled' || own.length === 0 || may.length === 0) return '–';
  const names = (usable.length > 0 ? usable : own).map(({ name, user }) =>
    user === 'default' ? name : `${user}/${name}`,
  );
  if (usable.length === 0) return `no: ${names.join(', ')} ${own[0]!.state.replaceAll('_', ' ')}`;
  const ways = [
    outcomes.every((each) => each === 'allow') && 'yes',
    new Set(outcomes).size > 1 && 'by the rules',
    may.includes('approve') && 'asks a person',
  ].filter((way) => way !== false);
  return `${ways.join(', ')}: ${names.join(', ')}`;
}
