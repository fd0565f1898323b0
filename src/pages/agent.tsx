import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, path } from './api.ts';
import { Leases, Requests } from './leases.tsx';
import { type Caller, namesIn, referenceOf } from './matrix.tsx';
import { Badge, Choice, Confirm, Facts, Field, Form, Loaded, Table, Time } from './parts.tsx';
import { type Made, Ready, type Secret } from './ready.tsx';
import { Action } from './remedy.tsx';
import { useResource } from './resource.ts';

interface Binding {
  readonly kind: keyof typeof kinds;
  readonly value: string | null;
}

interface Agent extends Caller {
  readonly acts_for: string | null;
  readonly used_at: string | null;
  readonly labels: readonly string[];
  readonly bindings: readonly Binding[];
  readonly tokens: readonly {
    readonly label: string;
    readonly live: boolean;
    readonly expires_at: string | null;
    readonly used_at: string | null;
  }[];
}

export type Values = Readonly<Record<string, string>>;

/** Kinds of bindings, with words for what each lets an agent use. */
const kinds = {
  grant: 'these accounts',
  provider: 'all accounts of these services',
  user: 'all accounts of these users',
  label: 'all accounts with these labels',
  everything: 'every account',
  egress: 'only these hosts without an account',
};

/** Returns bindings of a kind as members of the API. */
export function membersOf(kind: string, names: readonly string[]) {
  if (names.length === 0 && kind !== 'everything') return {};
  return { [kind === 'egress' || kind === 'everything' ? kind : `${kind}s`]: kind === 'everything' || names };
}

/** Fields of the accounts that an agent may use. */
export function Grants(): JSX.Element {
  const grants = useResource((signal) =>
    call<{ data: readonly { name: string; user: string }[] }>('GET /v2/grants?limit=100', undefined, signal),
  );
  return (
    <>
      <Choice label="May use" name="kind" options={Object.entries(kinds)} chosen="grant" />
      <Field label="Which" name="which" list="known-grants" placeholder="desk, alice/work" />
      <datalist id="known-grants">
        {grants.data?.data.map((grant) => (
          <option key={referenceOf(grant)} value={referenceOf(grant)} />
        ))}
      </datalist>
    </>
  );
}

interface OneProps {
  readonly mayChange: boolean;
  readonly name: string;
}

/** One agent: what it may use, its tokens and leases, and what it did. */
export function One({ name, mayChange }: OneProps): JSX.Element {
  const agent = useResource((signal) => call<Agent>(path`GET /v2/agents/${name}`, undefined, signal), [name]);
  const [made, setMade] = useState<Made | null>(null);
  const changed = (what: string, body?: unknown) =>
    call<Secret>(what, body).then(async (answer) => {
      await agent.reload();
      return answer;
    });
  const bind = (body: object) => changed(path`POST /v2/agents/${name}/bind`, body);
  const replace = async (values: Values) =>
    setMade({
      ...(await changed(path`POST /v2/agents/${name}/rotate`, values)),
      of: `the agent ${name}`,
    });
  const remove = async () => {
    await call(path`DELETE /v2/agents/${name}`);
    location.hash = 'agents';
  };
  return (
    <>
      <p>
        <a href="#agents">All agents</a>
      </p>
      {made !== null && <Ready made={made} done={() => setMade(null)} />}
      <Loaded of={agent}>
        {(it) => (
          <>
            <h2>{it.name}</h2>
            <Facts
              of={{
                State: <Badge state={it.state} />,
                'Works for': it.acts_for,
                Labels: it.labels.join(', '),
                'Can use': it.reaches?.map(referenceOf).join(', ') || 'no account',
                'Last use': <Time at={it.used_at} />,
              }}
            />
            {mayChange && (
              <p class="buttons">
                <Action
                  key={it.state}
                  label={it.state === 'enabled' ? 'Disable' : 'Enable'}
                  kind="quiet"
                  run={() => changed(path`PATCH /v2/agents/${name}`, { disabled: it.state === 'enabled' })}
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
              rows={it.bindings.map(({ kind, value }) => [
                kinds[kind],
                it.reaches?.find(({ id }) => id === value)?.name ?? value ?? '–',
                mayChange && (
                  <Action
                    label="Unbind"
                    kind="quiet"
                    run={() => bind({ remove: true, ...membersOf(kind, value === null ? [] : [value]) })}
                  />
                ),
              ])}
              none="It may use no account yet."
            />
            {mayChange && (
              <Form
                label="Bind"
                submit={({ kind = '', which = '' }) => bind(membersOf(kind, namesIn(which)))}
              >
                <Grants />
              </Form>
            )}
            <h2>Tokens</h2>
            <Table
              caption="Tokens"
              headings={['Label', 'State', 'Ends', 'Last use']}
              rows={it.tokens.map(({ label, live, expires_at, used_at }) => [
                label,
                <Badge state={live ? 'active' : 'ended'} />,
                <Time at={expires_at} />,
                <Time at={used_at} />,
              ])}
              none="It has no token."
            />
            {mayChange && (
              <Form label="Replace the token" submit={replace}>
                <Field label="New token ends" name="expires" placeholder="never, or 90d" />
                <Field label="Earlier one stays for" name="overlap" placeholder="no time, or 1h" />
              </Form>
            )}
          </>
        )}
      </Loaded>
      <h2>Leases</h2>
      <Leases agent={name} mayChange={mayChange} onMade={setMade} />
      <h2>Last requests</h2>
      <Requests of={path`agent=${name}`} />
    </>
  );
}
