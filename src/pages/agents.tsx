import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { membersOf, Grants, One, type Values } from './agent.tsx';
import { call, type PageProps, path } from './api.ts';
import { heightOf, Leases, OneLease, Revealed } from './leases.tsx';
import { Matrix, namesIn } from './matrix.tsx';
import { Badge, Empty, Field, Form, Time } from './parts.tsx';
import { type Made, Ready, type Secret } from './ready.tsx';
import { Rows, usePages } from './rows.tsx';

/** Page "Agents": agents, their leases, and the hosts that each may call. */

interface Agent {
  readonly name: string;
  readonly state: string;
  readonly acts_for: string | null;
  readonly live_tokens: number;
  readonly active_leases: number;
  readonly used_at: string | null;
}

export function Agents({ me, args: [name, lease] }: PageProps): JSX.Element {
  const mayChange = me.scopes.includes('access:write');
  if (lease !== undefined) return <OneLease id={lease} mayChange={mayChange} />;
  if (name !== undefined) return <One name={name} mayChange={mayChange} />;
  return <Everyone mayChange={mayChange} />;
}

function Everyone({ mayChange }: { readonly mayChange: boolean }): JSX.Element {
  const agents = usePages<Agent>('/v2/agents');
  const [made, setMade] = useState<Made | null>(null);
  const create = async ({ name = '', kind = '', which = '', ...rest }: Values) => {
    const body = { name, ...rest, ...membersOf(kind, namesIn(which)) };
    setMade({ ...(await call<Secret>('POST /v2/agents', body)), of: `the agent ${name}` });
    await agents.reload();
  };
  const isEmpty = agents.isComplete && agents.entries.length === 0;
  return (
    <>
      {made !== null && <Ready made={made} done={() => setMade(null)} />}
      {mayChange && (
        <Revealed
          key={`${isEmpty} ${made === null}`}
          label="Create an agent"
          isOpen={isEmpty && made === null}
        >
          <Form label="Create the agent" submit={create}>
            <Field label="Name" name="name" required placeholder="ci" />
            <Grants />
            <Field label="Works for the user" name="acts_for" placeholder="nobody" />
            <Field label="Token ends" name="expires" placeholder="never, or 90d" />
          </Form>
        </Revealed>
      )}
      <Rows
        caption="Agents"
        headings={['Agent', 'State', 'Leases', 'Last use', 'Tokens', 'Works for']}
        columns="2fr 1fr 5rem 1fr 5rem 1fr"
        height={heightOf(agents.entries.length)}
        source={agents}
        row={(agent) => [
          <a href={path`#agents/${agent.name}`}>{agent.name}</a>,
          <Badge state={agent.state} />,
          agent.active_leases,
          <Time at={agent.used_at} />,
          agent.live_tokens,
          agent.acts_for ?? '–',
        ]}
        none={
          <Empty title="There are no agents yet.">
            An agent is a program that calls through Sidekey. Its token is all that it holds.
          </Empty>
        }
      />
      <h2>Leases</h2>
      <Leases mayChange={mayChange} onMade={setMade} />
      <h2>Who may call what</h2>
      {(isEmpty || agents.entries.length > 0) && <Matrix agents={agents.entries.map(({ name }) => name)} />}
    </>
  );
}
