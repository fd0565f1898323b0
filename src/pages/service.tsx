import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { all, call, path } from './api.ts';
import { Icon } from './icon.tsx';
import { Facts, Field, Form, Loaded } from './parts.tsx';
import { Action } from './remedy.tsx';
import { useResource } from './resource.ts';
import {
  type Added,
  capital,
  Consent,
  generic,
  type Grant,
  mayConfigure,
  Paste,
  type Service,
  type Values,
  type WayProps,
} from './ways.tsx';
import type { FoundLogin, Me } from '../sdk/client/operations.ts';

/** One service of the page "Connect": its ways, then what was connected. */

/** Returns the keys of the machine; none if the person may not use them. */
export async function keysOf(me: Me, signal: AbortSignal): Promise<readonly FoundLogin[]> {
  return mayConfigure(me) ? all<FoundLogin>('/v2/logins', signal) : [];
}

type WaysProps = Pick<WayProps, 'me' | 'account'> & { readonly name: string };

export function Ways({ me, name, account }: WaysProps): JSX.Element {
  const read = useResource((signal) =>
    Promise.all([call<Service>(path`GET /v2/providers/${name}`, undefined, signal), keysOf(me, signal)]),
  );
  const [grant, setGrant] = useState<Grant>();
  const show = async (added: Added) =>
    setGrant({ ...added, ...(await call<Grant>(path`GET /v2/grants/${added.id}`)) });
  const take = async ({ place, remove }: FoundLogin) => {
    const added = await call<Grant>(path`POST /v2/logins/${name}`, { domains: true, name: account });
    const rest =
      remove === null ? [] : [`The key also stays in its place: ${place}. Remove it there: ${remove}.`];
    await show({ ...added, warnings: [...(added.warnings ?? []), ...rest] });
  };
  const set = (settings: Values) => read.change(path`PATCH /v2/providers/${name}`, { settings });
  const ways = (service: Service, keys: readonly FoundLogin[]) => {
    const login = keys.find(({ provider }) => provider === name);
    const { token, flows, notes, open_settings: open } = service;
    const isPasted = token !== null || flows.length === 0;
    const isConsented = flows.includes('authorization_code') || flows[0] === 'id_jag';
    const given = { me, account, service, show };
    return (
      <>
        {login !== undefined && (
          <p>
            {`A key was found where Sidekey runs: ${login.place}. `}
            <Action label="Use this key" run={() => take(login)} />
          </p>
        )}
        {open.length > 0 && name !== generic ? (
          <Form label="Continue" submit={set}>
            {open.map(({ name: key, description, example }) => (
              <Field key={key} name={key} label={capital(description)} placeholder={example} required />
            ))}
          </Form>
        ) : (
          <div class="split">
            {isPasted && <Paste {...given} />}
            {isConsented && <Consent {...given} />}
            {!isPasted && !isConsented && (
              <p>
                Connect it on the command line: <code>{service.connect[0]}</code>
              </p>
            )}
          </div>
        )}
        {notes.length > 0 && (
          <details>
            <summary>Good to know</summary>
            <p>{notes.join(' ')}</p>
          </details>
        )}
      </>
    );
  };
  return (
    <>
      <a href="#connect">All services</a>
      <Loaded of={read} skeleton={5}>
        {([service, keys]) => (
          <>
            <h2>
              <Icon provider={name} title={service.title} />
              {` ${service.title}`}
            </h2>
            {grant === undefined && ways(service, keys)}
            {grant !== undefined && <Result me={me} service={service} show={show} grant={grant} />}
          </>
        )}
      </Loaded>
    </>
  );
}

/** The facts of a new grant, and the next steps. */
function Result({
  me,
  service,
  show,
  grant,
}: Omit<WayProps, 'account'> & { readonly grant: Grant }): JSX.Element {
  const { name, account, scopes, audience, domains, verified, warnings = [] } = grant;
  const hosts = service.domains.length > 0 && service.name !== generic ? service.domains : audience;
  const missing = hosts.filter((host) => !domains.includes(host));
  const allow = async () => {
    for (const host of missing) await call(path`PUT /v2/domains/${host}`, { action: 'grant', grant: name });
    await show(grant);
  };
  return (
    <section class="card" role="status">
      <h3>{`${service.title} is connected`}</h3>
      <Facts
        of={{
          Name: name,
          Account: account,
          Verified:
            verified === undefined ? null : verified ? 'yes' : 'no: its first request shows if it works',
          Scopes: scopes.join(', '),
          'Sent only to': audience.join(', '),
          'Used for requests to': domains.join(', '),
        }}
      />
      {warnings.map((warning) => (
        <p key={warning} class="failure">
          {warning}
        </p>
      ))}
      {missing.length > 0 && mayConfigure(me) && (
        <Action label={`Let requests to ${missing.join(', ')} use it`} run={allow} />
      )}
      {missing.length > 0 && !mayConfigure(me) && <p>An operator must let requests to its hosts use it.</p>}
      <p>
        <a class="button" href={me.role === 'user' ? '#wallet' : '#agents'}>
          {me.role === 'user' ? 'Your accounts' : 'Create an agent'}
        </a>
      </p>
    </section>
  );
}
