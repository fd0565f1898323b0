import { all, call, path, type Me } from './api.ts';
import { action, badge, fill, h, table, time } from './dom.ts';

interface Agent {
  readonly name: string;
  readonly state: string;
  readonly acts_for: string | null;
  readonly live_tokens: number;
  readonly active_leases: number;
  readonly used_at: string | null;
}

interface AgentInFull extends Agent {
  readonly reaches: readonly { readonly id: string; readonly name: string; readonly user: string }[];
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

/** Agents, their leases, and which agent may use which grant. */
export async function access(main: HTMLElement, me: Me): Promise<void> {
  const [agents, leases] = await Promise.all([all<Agent>('/v2/agents'), all<Lease>('/v2/leases')]);
  const inFull = await Promise.all(agents.map(({ name }) => call<AgentInFull>(path`GET /v2/agents/${name}`)));
  const grants = [
    ...new Map(inFull.flatMap(({ reaches }) => reaches.map((grant) => [grant.id, grant]))).values(),
  ].toSorted((a, b) => a.name.localeCompare(b.name));
  const mayChange = me.scopes.includes('access:write');
  const again = (work: () => Promise<unknown>) => async () => {
    await work();
    await access(main, me);
  };
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
    h('h2', {}, 'Who may use what'),
    table(
      'Agents and the grants that they reach',
      ['Agent', ...grants.map(({ name, user }) => (user === 'default' ? name : `${user}/${name}`))],
      inFull.map(({ name, reaches }) => [
        name,
        ...grants.map(({ id }) => (reaches.some((grant) => grant.id === id) ? 'yes' : '–')),
      ]),
      'No agent reaches a grant.',
    ),
  );
}
