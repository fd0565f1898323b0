import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { all, type ApiError, asTyped, call, may, path, person } from './api.ts';
import { Icon } from './icon.tsx';
import { referenceOf } from './matrix.tsx';
import { Facts, Field, Form, Loaded } from './parts.tsx';
import { Action } from './remedy.tsx';
import { useResource } from './resource.ts';
import {
  type Added,
  capital,
  Consent,
  generic,
  hostsOf,
  Paste,
  type Service,
  type Values,
  type WayProps,
} from './ways.tsx';
import type { AddedGrant, FoundLogin, Grant } from '../sdk/client/operations.ts';

/** One service of the page "Connect": its ways, then what was connected. */

/** Returns the keys of the machine; none if the person may not use them. */
export async function keysOf(signal: AbortSignal): Promise<readonly FoundLogin[]> {
  return may('config:write') ? all<FoundLogin>('/v2/logins', signal) : [];
}

type WaysProps = Pick<WayProps, 'account'> & { readonly name: string };

export function Ways({ name, account }: WaysProps): JSX.Element {
  const read = useResource((signal) =>
    Promise.all([call<Service>(path`GET /v2/providers/${name}`, undefined, signal), keysOf(signal)]),
  );
  const [grant, setGrant] = useState<Connected>();
  const show = async (service: Service, added: Added) => {
    const read = () => call<Grant>(path`GET /v2/grants/${added.id}`);
    const found = await read();
    const missing = may('config:write') ? missingOf(service, found) : [];
    try {
      for (const host of missing) if (await isUndecided(host)) await allow(host, found);
    } catch {
      // The result offers the hosts that are left. Its button shows the failure.
    }
    setGrant({ ...added, ...(missing.length > 0 ? await read() : found) });
  };
  const take = async (service: Service, { place, remove }: FoundLogin) => {
    const added = await call<AddedGrant>(path`POST /v2/logins/${name}`, { domains: true, name: account });
    const rest =
      remove === null ? [] : [`The key also stays in its place: ${place}. Remove it there: ${remove}.`];
    await show(service, { ...added, warnings: [...added.warnings, ...rest] });
  };
  const set = (settings: Values) => read.change(path`PATCH /v2/providers/${name}`, { settings });
  const ways = (given: WayProps, keys: readonly FoundLogin[]) => {
    const { service } = given;
    const login = keys.find(({ provider }) => provider === name);
    const { token, flows, notes, open_settings: open } = service;
    const isPasted = token !== null || flows.length === 0;
    const isConsented = flows.includes('authorization_code') || flows[0] === 'id_jag';
    return (
      <>
        {login !== undefined && (
          <p>
            {`A key was found where Sidekey runs: ${login.place}. `}
            <Action label="Use this key" run={() => take(service, login)} />
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
                Connect it on the command line: <code>{asTyped(service.connect[0] ?? '')}</code>
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
        {([service, keys]) => {
          const given = { account, service, show: (added: Added) => show(service, added) };
          return (
            <>
              <h2>
                <Icon provider={name} /> {service.title}
              </h2>
              {grant === undefined ? ways(given, keys) : <Result {...given} grant={grant} />}
            </>
          );
        }}
      </Loaded>
    </>
  );
}

/** A new grant, with the result of the verification of a key. */
type Connected = Grant & Omit<Added, 'id'>;

/** Returns the hosts of a service whose requests do not use an account. */
function missingOf(service: Service, { audience, domains }: Grant): readonly string[] {
  return hostsOf({ ...service, audience }).filter((host) => !domains.includes(host));
}

/** Reports whether no entry of the allowed-domains map decides about a host. */
function isUndecided(host: string): Promise<boolean> {
  return call(path`GET /v2/domains/${host}`).then(
    () => false,
    ({ status }: ApiError) => status === 404,
  );
}

async function allow(host: string, { name }: Grant): Promise<void> {
  await call(path`PUT /v2/domains/${host}`, { action: 'grant', grant: name });
}

/** The facts of a new grant, and the next steps. */
function Result({ service, show, grant }: WayProps & { readonly grant: Connected }): JSX.Element {
  const { name, account, scopes, audience, domains, verified, warnings = [] } = grant;
  const missing = missingOf(service, grant);
  const allowAll = async () => {
    for (const host of missing) await allow(host, grant);
    await show(grant);
  };
  const isUser = person.value?.role === 'user';
  const isLeft = missing.length > 0 && may('config:write');
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
      {isLeft && <Action label={`Let requests to ${missing.join(', ')} use it`} run={allowAll} />}
      {missing.length > 0 && !may('config:write') && (
        <p>An operator must let requests to its hosts use it.</p>
      )}
      <p>
        <a
          class={isLeft ? 'button quiet' : 'button'}
          href={isUser ? '#wallet' : path`#agents//${referenceOf(grant)}`}
        >
          {isUser ? 'Your accounts' : 'Create an agent'}
        </a>
      </p>
    </section>
  );
}
