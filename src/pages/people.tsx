import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, may, path } from './api.ts';
import { Badge, Choice, Confirm, Field, Form, Once, Time } from './parts.tsx';
import { Action } from './remedy.tsx';
import { Listed, usePages } from './rows.tsx';
import type { ApiKey, Person } from '../sdk/client/operations.ts';

/** People who sign in, and keys of programs. Each link and key is shown once. */

const roles = ['operator', 'approver', 'auditor', 'user'];

export function People(): JSX.Element {
  return (
    <>
      <Persons />
      <h2>API keys</h2>
      <Keys />
    </>
  );
}

function Persons(): JSX.Element {
  const people = usePages<Person>('/v2/people');
  const [link, setLink] = useState<{ name: string; url: string } | null>(null);
  const makeLink = async (name: string) => setLink(await call(path`POST /v2/people/${name}/link`));
  return (
    <>
      {link !== null && (
        <Once
          key={link.url}
          title={`Give this address to ${link.name}. It works once, within 10 minutes:`}
          secret={link.url}
          done={() => setLink(null)}
        />
      )}
      <Listed
        of={people}
        caption="People"
        headings={['Name', 'Role', 'User', 'State', 'Actions']}
        row={({ name, role, user, state }) => [
          name,
          role,
          user ?? '–',
          <Badge state={state} />,
          may('config:write') && (
            <>
              <Action label="Link to sign in" kind="quiet" run={() => makeLink(name)} />
              <Action
                label={state === 'enabled' ? 'Disable' : 'Enable'}
                kind="quiet"
                run={() => people.change(path`PATCH /v2/people/${name}`, { disabled: state === 'enabled' })}
              />
              <Confirm
                label="Remove"
                question={`Remove ${name}, with sessions and keys?`}
                run={() => people.change(path`DELETE /v2/people/${name}`)}
              />
            </>
          ),
        ]}
        none="Nobody signs in yet."
      />
      {may('config:write') && (
        <Form label="Add a person" submit={(values) => people.change('POST /v2/people', values)}>
          <Field label="Name" name="name" required />
          <Choice label="Role" name="role" options={roles} chosen="user" />
        </Form>
      )}
    </>
  );
}

function Keys(): JSX.Element {
  const keys = usePages<ApiKey>('/v2/api-keys');
  const [secret, setSecret] = useState<string | null>(null);
  const create = async (values: object) =>
    setSecret((await keys.change<{ key: string }>('POST /v2/api-keys', values)).key);
  return (
    <>
      {secret !== null && (
        <Once
          key={secret}
          title="Copy the key now. It is shown only once:"
          secret={secret}
          done={() => setSecret(null)}
        />
      )}
      <Listed
        of={keys}
        caption="API keys"
        headings={['Name', 'Role', 'Scopes', 'User', 'Ends', 'Last use', 'Actions']}
        row={({ name, role, scopes, user, expires_at, used_at }) => [
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
        ]}
        none="There are no keys."
      />
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
