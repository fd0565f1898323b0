import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, may, path } from './api.ts';
import { Leases } from './leases.tsx';
import { referenceOf } from './matrix.tsx';
import { Badge, Choice, Confirm, Facts, Field, Form, Loaded, Table, Time } from './parts.tsx';
import { type Made, Ready, type Secret } from './ready.tsx';
import { Action } from './remedy.tsx';
import { useAnswer } from './resource.ts';
import { words } from './rule-fields.ts';
import { Uses } from './uses.tsx';
import type { Agent, Binding, GrantInList } from '../sdk/client/operations.ts';

/** Kinds of bindings, with words for what each lets an agent use. */
const kinds: Readonly<Record<Binding['kind'], string>> = {
  grant: 'these accounts',
  provider: 'all accounts of these services',
  user: 'all accounts of these users',
  label: 'all accounts with these labels',
  everything: 'every account',
  egress: 'only these hosts without an account',
};

/** Returns bindings of a kind as members of the API. */
export function membersOf(kind: string, names: readonly string[]): object {
  if (kind === 'everything') return { everything: true };
  return names.length === 0 ? {} : { [kind === 'egress' ? kind : `${kind}s`]: names };
}

interface GrantsProps {
  readonly label: string;
  /** The account that is filled in. */
  readonly account?: string | undefined;
}

/** Fields of the accounts that an agent may use. */
export function Grants({ label, account }: GrantsProps): JSX.Element {
  const grants = useAnswer<{ data: readonly GrantInList[] }>('GET /v2/grants?limit=100');
  return (
    <>
      <Choice label="May use" name="kind" options={Object.entries(kinds)} chosen="grant" />
      <Field
        label={label}
        name="which"
        list="known-grants"
        placeholder="desk, alice/work"
        defaultValue={account}
      />
      <datalist id="known-grants">
        {grants.data?.data.map((grant) => (
          <option key={referenceOf(grant)} value={referenceOf(grant)} />
        ))}
      </datalist>
    </>
  );
}

/** One agent: what it may use, its tokens and leases, and what it did. */
export function AgentPage({ name }: { readonly name: string }): JSX.Element {
  const agent = useAnswer<Agent>(path`GET /v2/agents/${name}`);
  const mayChange = may('access:write');
  const { change } = agent;
  const [made, setMade] = useState<Made | null>(null);
  const bind = (body: object) => change(path`POST /v2/agents/${name}/bind`, body);
  const replace = async (values: object) =>
    setMade({
      ...(await change<Secret>(path`POST /v2/agents/${name}/rotate`, values)),
      of: `the agent ${name}`,
    });
  const remove = async () => {
    await call(path`DELETE /v2/agents/${name}`);
    location.hash = 'agents';
  };
  return (
    <>
      {made !== null && <Ready made={made} done={() => setMade(null)} />}
      <Loaded of={agent}>
        {({ state, acts_for, labels, reaches, used_at: last, bindings, tokens }) => (
          <>
            <h2>{name}</h2>
            <Facts
              of={{
                State: <Badge state={state} />,
                'Works for': acts_for,
                Labels: labels.join(', '),
                'Can use': reaches?.map(referenceOf).join(', ') || 'no account',
                'Last use': <Time at={last} />,
              }}
            />
            {mayChange && (
              <p class="buttons">
                <Action
                  key={state}
                  label={state === 'enabled' ? 'Disable' : 'Enable'}
                  kind="quiet"
                  run={() => change(path`PATCH /v2/agents/${name}`, { disabled: state === 'enabled' })}
                />
                <Confirm
                  label="Remove"
                  question={`Remove ${name} with its tokens and leases? Programs that use them are refused.`}
                  run={remove}
                />
              </p>
            )}
            <h2>What it may use</h2>
            <Table
              caption="Bindings"
              headings={['May use', 'Which', 'Actions']}
              rows={bindings.map(({ kind, value }) => [
                kinds[kind],
                reaches?.find(({ id }) => id === value)?.name ?? value ?? '–',
                mayChange && (
                  <Action
                    label="Unbind"
                    kind="quiet"
                    run={() => bind({ remove: true, ...membersOf(kind, [value ?? '']) })}
                  />
                ),
              ])}
              none="It may use no account yet."
            />
            {mayChange && (
              <Form label="Bind" submit={({ kind = '', which = '' }) => bind(membersOf(kind, words(which)))}>
                <Grants label="Which" />
              </Form>
            )}
            <h2>Tokens</h2>
            <Table
              caption="Tokens"
              headings={['Label', 'State', 'Ends', 'Last use']}
              rows={tokens.map(({ label, live, expires_at, used_at }) => [
                label,
                <Badge state={live ? 'active' : 'ended'} />,
                <Time at={expires_at} />,
                <Time at={used_at} />,
              ])}
              none="It has no token."
            />
            {mayChange && (
              <Form label="Replace the token" submit={replace}>
                <Field label="New token ends (optional)" name="expires" placeholder="never, or 90d" />
                <Field label="Earlier one stays for (optional)" name="overlap" placeholder="no time, or 1h" />
              </Form>
            )}
            <h2>Leases</h2>
            <Leases agent={name} onMade={setMade} />
            <Uses of={path`agent=${name}&event=outcome`} title="Last requests" />
          </>
        )}
      </Loaded>
    </>
  );
}
