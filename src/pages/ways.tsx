import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { all, call, type Me, path } from './api.ts';
import { Icon } from './icon.tsx';
import { Facts, Field, Form, Loaded } from './parts.tsx';
import { connectInPopup } from './popup.ts';
import { Action } from './remedy.tsx';
import { useResource } from './resource.ts';

/** One service of the page "Connect": each way to connect it, then what was connected. */

interface Steps {
  readonly url: string | null;
  readonly steps: readonly string[];
}

export interface Service {
  readonly name: string;
  readonly title: string;
  readonly category: string;
  readonly notes: readonly string[];
  readonly flows: readonly string[];
  readonly scopes: readonly string[];
  readonly known_scopes: Readonly<Record<string, string>>;
  readonly domains: readonly string[];
  readonly client_id: string | null;
  readonly callback_uri: string;
  readonly client_registration: Steps | null;
  readonly open_settings: readonly { readonly name: string; description: string; example: string }[];
  readonly token:
    | (Steps & {
        label: string;
        fields: readonly { readonly name: string; label: string; secret: boolean }[];
      })
    | null;
}

/** A key of the machine. */
interface Found {
  readonly provider: string;
  readonly title: string;
  readonly place: string;
  readonly connected: boolean;
}

/** A new grant. Only an answer about a key has the last two members. */
interface Grant {
  readonly id: string;
  readonly name: string;
  readonly account: string | null;
  readonly scopes: readonly string[];
  readonly audience: readonly string[];
  readonly domains: readonly string[];
  readonly verified?: boolean;
  readonly warnings?: readonly string[];
}

type Values = Readonly<Record<string, string>>;

interface WayProps {
  readonly me: Me;
  readonly service: Service;
  readonly show: (added: Pick<Grant, 'id'>) => Promise<void>;
}

export const mayConfigure = ({ scopes }: Me) => scopes.includes('config:write');

/** Name of the service for any API with a key. Each of its keys has a host of its own. */
const generic = 'api-key';

/** Returns the keys of the machine; none if the person may not use them. */
export async function keysOf(me: Me, signal: AbortSignal): Promise<readonly Found[]> {
  return mayConfigure(me) ? all<Found>('/v2/logins', signal) : [];
}

/** Returns a text with a capital at its start; a short word, such as `crm`, in capitals. */
export const capital = (text: string) => text.replace(/^(?:.{1,3}$|.)/, (start) => start.toUpperCase());

export function Ways({ me, name }: { readonly me: Me; readonly name: string }): JSX.Element {
  const read = useResource((signal) =>
    Promise.all([call<Service>(path`GET /v2/providers/${name}`, undefined, signal), keysOf(me, signal)]),
  );
  const [grant, setGrant] = useState<Grant>();
  const show = async (added: Pick<Grant, 'id'>) =>
    setGrant({ ...added, ...(await call<Grant>(path`GET /v2/grants/${added.id}`)) });
  const take = async () => show(await call<Grant>(path`POST /v2/logins/${name}`, { domains: true }));
  const set = async (settings: Values) => {
    await call(path`PATCH /v2/providers/${name}`, { settings });
    await read.reload();
  };
  const ways = (service: Service, keys: readonly Found[]) => {
    const login = keys.find(({ provider }) => provider === name);
    const { token, flows, notes, open_settings: open } = service;
    const given = { me, service, show };
    return (
      <>
        {login !== undefined && (
          <p>
            {`A key was found where Sidekey runs: ${login.place}. `}
            <Action label="Use this key" run={take} />
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
            {(token !== null || flows.length === 0) && <Paste {...given} />}
            {(flows.includes('authorization_code') || flows[0] === 'id_jag') && <Consent {...given} />}
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

/** On a narrow screen, other fields are as wide as the form. */
const checkbox = { width: 'auto' };

/** Consent in a popup; the steps to a client if there is none. */
function Consent({ me, service, show }: WayProps): JSX.Element {
  const { name: provider, title, scopes, known_scopes: known, client_registration: at } = service;
  const [declined, setDeclined] = useState('');
  const consent = async ({ grant_name: name, ...chosen }: Values) => {
    setDeclined('');
    const wanted = Object.values(chosen);
    const user = me.user ?? 'default';
    const end = await connectInPopup({
      provider,
      user,
      name,
      scopes: wanted.length > 0 ? wanted : undefined,
    });
    if ('grant' in end) await show({ id: end.grant });
    else setDeclined(end.error);
  };
  const { callback_uri: uri } = service;
  const { steps } = at ?? { steps: ['Add a client (an “app”) with the redirect URI {redirect_uri}.'] };
  if (service.client_id === null && service.flows[0] !== 'id_jag')
    return (
      <section>
        <h3>Consent in the browser</h3>
        <p>{`This way needs an OAuth client of your own at ${title}. Register it once:`}</p>
        <StepList
          of={{ url: at?.url ?? null, steps: steps.map((step) => step.replaceAll('{redirect_uri}', uri)) }}
        >
          <li>
            {`In the config file, set client_id and client_secret (env:NAME or file:PATH) of providers.${provider}.`}
          </li>
        </StepList>
      </section>
    );
  const offered = Object.entries({ ...Object.fromEntries(scopes.map((scope) => [scope, ''])), ...known });
  return (
    <section>
      <h3>Consent in the browser</h3>
      <Form label={`Continue to ${title}`} submit={consent} keep>
        {offered.length > 0 && (
          <details>
            <summary>{`Access: ${scopes.join(', ') || 'the default of the service'}`}</summary>
            {offered.map(([scope, what]) => (
              <label key={scope}>
                <input
                  type="checkbox"
                  style={checkbox}
                  name={`scope ${scope}`}
                  value={scope}
                  defaultChecked={scopes.includes(scope)}
                />
                {` ${scope} `}
                <small>{what}</small>
              </label>
            ))}
          </details>
        )}
        <Field label="Name (optional)" name="grant_name" placeholder={provider} />
      </Form>
      <p role="status">{declined}</p>
    </section>
  );
}

/** The key of a service whose definition does not describe it. */
const plain = { label: 'key or token', fields: [{ name: 'token', label: 'key or token', secret: true }] };

/** A key that the person pastes. */
function Paste({ me, service, show }: WayProps): JSX.Element {
  const { name: provider, token } = service;
  const { label: what, fields } = token ?? plain;
  const paste = async ({ grant_name: name, api_host: host, replace, ...credential }: Values) => {
    const choices = { name, audience: host && [host], replace: replace !== undefined };
    const body = { provider, credential, domains: mayConfigure(me), ...choices };
    await show(await call<Grant>('POST /v2/grants', body));
  };
  return (
    <section>
      <h3>{capital(what)}</h3>
      {token !== null && <StepList of={token} />}
      <Form label="Verify and store" submit={paste}>
        {provider === generic && (
          <Field label="Host of the API" name="api_host" placeholder="api.example.com" required />
        )}
        {fields.map(({ name, label, secret }) => {
          const field = { key: name, label: capital(label), name, required: true };
          return secret ? <Field {...field} type="password" /> : <Field {...field} />;
        })}
        <Field label="Name (optional)" name="grant_name" placeholder={provider} />
        <label class="inline">
          <input type="checkbox" name="replace" value="yes" style={checkbox} /> Replace the account of this
          name
        </label>
      </Form>
    </section>
  );
}

/** Steps at a page of the service. Only an https address is a link: the config file may hold any text. */
function StepList({
  of: { url, steps },
  children,
}: {
  of: Steps;
  children?: ComponentChildren;
}): JSX.Element {
  return (
    <ol style={{ overflowWrap: 'anywhere' }}>
      {url?.startsWith('https://') === true && (
        <li>
          Open{' '}
          <a href={url} target="_blank" rel="noreferrer">
            {url}
          </a>
        </li>
      )}
      {steps.map((step) => (
        <li key={step}>{step}</li>
      ))}
      {children}
    </ol>
  );
}

/** The facts of a new grant, and the next steps. */
function Result({ me, service, show, grant }: WayProps & { readonly grant: Grant }): JSX.Element {
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
          Verified: verified === false ? 'no, the service has no request for it' : 'yes',
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
      <a class="button" href="#agents">
        Create an agent
      </a>
    </section>
  );
}
