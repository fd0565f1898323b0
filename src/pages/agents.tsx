import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { AgentPage, Grants, membersOf } from './agent.tsx';
import { call, may, type PageProps, path } from './api.ts';
import { LeasePage, Leases } from './leases.tsx';
import { Matrix } from './matrix.tsx';
import { Badge, Empty, Field, Form, Time } from './parts.tsx';
import { type Made, Ready, type Secret } from './ready.tsx';
import { Rows, usePages } from './rows.tsx';
import { words } from './rule-fields.ts';
import type { AgentInList } from '../sdk/client/operations.ts';

/** Page "Agents": agents, their leases, and the hosts that each may call. */

export function Agents({ args: [name, lease] }: PageProps): JSX.Element {
  // `#agents//ACCOUNT`: no agent has an empty name.
  if (!name) return <Everyone account={lease} />;
  return (
    <>
      <a href="#agents">All agents</a>
      {lease === undefined ? <AgentPage name={name} /> : <LeasePage id={lease} />}
    </>
  );
}

/** `account` is filled in as the one that a new agent may use. */
function Everyone({ account }: { readonly account: string | undefined }): JSX.Element {
  const agents = usePages<AgentInList>('/v2/agents');
  const [made, setMade] = useState<Made | null>(null);
  const create = async ({ name = '', kind = '', which = '', ...rest }: Readonly<Record<string, string>>) => {
    const body = { name, ...rest, ...membersOf(kind, words(which)) };
    setMade({ ...(await call<Secret>('POST /v2/agents', body)), of: `the agent ${name}` });
    await agents.reload();
  };
  const isEmpty = agents.isComplete && agents.entries.length === 0;
  return (
    <>
      {made !== null && <Ready made={made} done={() => setMade(null)} />}
      {may('access:write') && (
        <details
          key={`${isEmpty} ${made === null}`}
          open={(isEmpty || account !== undefined) && made === null}
        >
          <summary class={made === null ? 'button' : 'button quiet'}>Create an agent</summary>
          <Form label="Create the agent" submit={create}>
            <Field label="Name" name="name" required placeholder="ci" />
            <Grants label="Which (none: no account yet)" account={account} />
            <Field label="Works for the user (optional)" name="acts_for" placeholder="nobody" />
            <Field label="Token ends (optional)" name="expires" placeholder="never, or 90d" />
          </Form>
        </details>
      )}
      <Rows
        caption="Agents"
        headings={['Agent', 'State', 'Last use', 'Works for', 'Leases', 'Tokens']}
        columns="2fr 1fr 1fr 1fr 5rem 5rem"
        height="33rem"
        source={agents}
        row={(agent) => [
          <a href={path`#agents/${agent.name}`}>{agent.name}</a>,
          <Badge state={agent.state} />,
          <Time at={agent.used_at} />,
          agent.acts_for,
          agent.active_leases,
          agent.live_tokens,
        ]}
        none={
          <Empty title="There are no agents yet.">
            An agent is a program that calls through Sidekey. Its token is all that it holds.
          </Empty>
        }
      />
      <h2>Leases</h2>
      <Leases onMade={setMade} />
      <h2>Who may call what</h2>
      {(isEmpty || agents.entries.length > 0) && <Matrix agents={agents.entries.map(({ name }) => name)} />}
    </>
  );
}
