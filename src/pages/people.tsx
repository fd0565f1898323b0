import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, may, type PageProps, path } from './api.ts';
import { Badge, Choice, Confirm, Field, Form, Loaded, Once, Table, Time } from './parts.tsx';
import { Action } from './remedy.tsx';
import { More, usePages } from './rows.tsx';
import type { ApiKey, Person } from '../sdk/client/operations.ts';

/** People who sign in, and keys of programs. Each link and key is shown once. */

interface Secret {
  readonly title: string;
  readonly secret: string;
}

interface ListProps {
  readonly show: (secret: Secret) => void;
}

const roles = ['operator', 'approver', 'auditor', 'user'];

export function People(_props: PageProps): JSX.Element {
  const [once, setOnce] = useState<Secret | null>(null);
  return (
    <>
      {once !== null && <Once key={once.secret} {...once} done={() => setOnce(null)} />}
      <Persons show={setOnce} />
      <h2>API keys</h2>
      <Keys show={setOnce} />
    </>
  );
}

function Persons({ show }: ListProps): JSX.Element {
  const people = usePages<Person>('/v2/people');
  const link = async (name: string) => {
    const { url } = await call<{ url: string }>(path`POST /v2/people/${name}/link`);
    show({ title: `Give this address to ${name}. It works once, within 10 minutes:`, secret: url });
  };
  return (
    <>
      <Loaded of={people} skeleton={3}>
        {(entries) => (
          <Table
            caption="People"
            headings={['Name', 'Role', 'User', 'State', 'Actions']}
            rows={entries.map(({ name, role, user, state }) => [
              name,
              role,
              user ?? '–',
              <Badge state={state} />,
              may('config:write') && (
                <>
                  <Action label="Link to sign in" kind="quiet" run={() => link(name)} />
                  <Action
                    label={state === 'enabled' ? 'Disable' : 'Enable'}
                    kind="quiet"
                    run={() =>
                      people.change(path`PATCH /v2/people/${name}`, { disabled: state === 'enabled' })
                    }
                  />
                  <Confirm
                    label="Remove"
                    question={`Remove ${name}, with sessions and keys?`}
                    run={() => people.change(path`DELETE /v2/people/${name}`)}
                  />
                </>
              ),
            ])}
            none="Nobody signs in yet."
          />
        )}
      </Loaded>
      <More of={people} />
      {may('config:write') && (
        <Form label="Add a person" submit={(values) => people.change('POST /v2/people', values)}>
          <Field label="Name" name="name" required />
          <Choice label="Role" name="role" options={roles} chosen="user" />
        </Form>
      )}
    </>
  );
}

function Keys({ show }: ListProps): JSX.Element {
  const keys = usePages<ApiKey>('/v2/api-keys');
  const create = async (values: object) => {
    const { key } = await keys.change<{ key: string }>('POST /v2/api-keys', values);
    show({ title: 'Copy the key now. It is shown only once:', secret: key });
  };
  return (
    <>
      <Loaded of={keys} skeleton={3}>
        {(entries) => (
          <Table
            caption="API keys"
            headings={['Name', 'Role', 'Scopes', 'User', 'Ends', 'Last use', 'Actions']}
            rows={entries.map(({ name, role, scopes, user, expires_at, used_at }) => [
              name,
              role,
              scopes?.join(' ') ?? 'all of the role',
              user ?? '–',
              <Time at={expires_at} />,
              <Time at={used_at} />,
              may('config:write') && (
                <Confirm
                  label="Revoke"
                  question={`Revoke the key ${name}? Programs with it are refused at once.`}
                  run={() => keys.change(path`DELETE /v2/api-keys/${name}`)}
                />
              ),
            ])}
            none="There are no keys."
          />
        )}
      </Loaded>
      <More of={keys} />
      {may('config:write') && (
        <Form label="Create a key" submit={create}>
          <Field label="Name" name="name" required />
          <Choice label="Role" name="role" options={roles} chosen="operator" />
          <Field label="User (optional)" name="user" placeholder="all users" />
          <Field label="Ends (optional)" name="expires" placeholder="90d" />
        </Form>
      )}
    </>
  );
}
