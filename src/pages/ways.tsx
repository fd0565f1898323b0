import type { JSX } from 'preact';
import { call, may, person } from './api.ts';
import { Check, Field, Form } from './parts.tsx';
import { connectInPopup } from './popup.ts';
import type { AddedGrant } from '../sdk/client/operations.ts';

/** Ways to connect a service: a consent in a popup, and a pasted key. */

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
  readonly audience: readonly string[];
  readonly domains: readonly string[];
  readonly authorization_endpoint: string | null;
  readonly revocation_endpoint: string | null;
  readonly client_id: string | null;
  readonly callback_uri: string;
  /** Commands, for services that no page connects. */
  readonly connect: readonly string[];
  readonly client_registration: Steps | null;
  readonly open_settings: readonly { readonly name: string; description: string; example: string }[];
  readonly token:
    | (Steps & {
        label: string;
        fields: readonly { readonly name: string; label: string; secret: boolean }[];
      })
    | null;
}

/** A new grant. Only an answer about a key has more than the ID. */
export type Added = Pick<AddedGrant, 'id'> & Partial<Pick<AddedGrant, 'verified' | 'warnings'>>;

export type Values = Readonly<Record<string, string>>;

export interface WayProps {
  /** Name of the account to connect again; absent: a new one. */
  readonly account: string | undefined;
  readonly service: Service;
  readonly show: (added: Added) => Promise<void>;
}

/** Name of the service for any API with a key. Each of its keys has a host of its own. */
export const generic = 'api-key';

/** Returns the hosts whose requests use an account, as far as the service names them. */
export const hostsOf = ({ name, domains, audience }: Pick<Service, 'name' | 'domains' | 'audience'>) =>
  domains.length > 0 && name !== generic ? domains : audience;

/** Returns a text with a capital at its start; a short word, such as `crm`, in capitals. */
export const capital = (text: string) => text.replace(/^(?:.{1,3}$|.)/, (start) => start.toUpperCase());

/** Consent in a popup; the steps to a client if there is none. */
export function Consent({ account, service, show }: WayProps): JSX.Element {
  const { name: provider, title, scopes, known_scopes: known, client_registration: at } = service;
  const consent = async ({ grant_name: name, ...chosen }: Values) => {
    const wanted = Object.values(chosen);
    const scopes = wanted.length > 0 ? wanted : undefined;
    await show({
      id: await connectInPopup({ provider, user: person.value?.user ?? 'default', name, scopes }),
    });
  };
  if (service.client_id === null && service.flows[0] !== 'id_jag')
    return (
      <section>
        <h3>Consent in the browser</h3>
        <p>{`This way needs an OAuth client of your own at ${title}. Register it once:`}</p>
        <StepList
          url={at?.url ?? null}
          steps={[
            ...(at?.steps ?? ['Add a client (an “app”) with the redirect URI {redirect_uri}.']),
            `In the config file, set client_id and client_secret (env:NAME or file:PATH) of providers.${provider}.`,
          ].map((step) => step.replaceAll('{redirect_uri}', service.callback_uri))}
        />
      </section>
    );
  const login = URL.parse(service.authorization_endpoint ?? '')?.host ?? title;
  const offered = Object.entries({ ...Object.fromEntries(scopes.map((scope) => [scope, ''])), ...known });
  return (
    <section>
      <h3>Consent in the browser</h3>
      <p>
        {`You sign in at ${login}. Its tokens are sent only to ${service.audience.join(', ')}.`}
        {may('config:write') &&
          ` Requests to ${hostsOf(service).join(', ')} use the account from then on, unless a rule decides about them.`}
      </p>
      <Form label={`Continue to ${title}`} submit={consent} keep>
        {offered.length > 0 && (
          <details>
            <summary>{`Access: ${scopes.join(', ') || 'the default of the service'}`}</summary>
            {offered.map(([scope, what]) => (
              <Check
                key={scope}
                class=""
                label={[`${scope} `, <small>{what}</small>]}
                name={`scope ${scope}`}
                value={scope}
                defaultChecked={scopes.includes(scope)}
              />
            ))}
          </details>
        )}
        <Field label="Name (optional)" name="grant_name" placeholder={provider} defaultValue={account} />
      </Form>
    </section>
  );
}

/** The key of a service whose definition does not describe it. */
const plain = { label: 'key or token', fields: [{ name: 'token', label: 'key or token', secret: true }] };

/** A key that the person pastes. */
export function Paste({ account, service, show }: WayProps): JSX.Element {
  const { name: provider, token } = service;
  const { label: what, fields } = token ?? plain;
  const paste = async ({ grant_name: name, api_host: host, replace, ...credential }: Values) => {
    const choices = { name, audience: host && [host], replace: replace !== undefined };
    const body = { provider, credential, domains: may('config:write'), ...choices };
    await show(await call<AddedGrant>('POST /v2/grants', body));
  };
  return (
    <section>
      <h3>{capital(what)}</h3>
      {token !== null && <StepList {...token} />}
      <Form label="Verify and store" submit={paste}>
        {provider === generic && (
          <Field label="Host of the API" name="api_host" placeholder="api.example.com" required />
        )}
        {fields.map(({ name, label, secret }) => {
          const field = { key: name, label: capital(label), name, required: true };
          return secret ? <Field {...field} type="password" /> : <Field {...field} />;
        })}
        <Field label="Name (optional)" name="grant_name" placeholder={provider} defaultValue={account} />
        <Check
          label="Replace the account of this name"
          name="replace"
          value="yes"
          defaultChecked={account !== undefined}
        />
      </Form>
    </section>
  );
}

/** Steps at a page of the service. Only an https address is a link: the config file may hold any text. */
function StepList({ url, steps }: Steps): JSX.Element {
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
    </ol>
  );
}
