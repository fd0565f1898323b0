import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { type Account, Changes, consent, renew } from './account-changes.tsx';
import { call, may, path, person } from './api.ts';
import { Icon } from './icon.tsx';
import { Badge, Facts, Loaded, Time } from './parts.tsx';
import { Action } from './remedy.tsx';
import { Renewal } from './renewal.tsx';
import { useResource } from './resource.ts';
import { Uses } from './uses.tsx';
import type { Service } from './ways.tsx';
import type { Grant } from '../sdk/client/operations.ts';

/** The page of one connected account, for operators and for its own person. */
export function AccountPage({ id }: { readonly id: string }): JSX.Element {
  const isPersonal = person.value?.role === 'user';
  const read = useResource(
    async (signal) => {
      const grant = await call<Grant>(path`GET /v2/grants/${id}`, undefined, signal);
      const service = path`GET /v2/providers/${grant.provider}`;
      const provider = await call<Service>(service, undefined, signal).catch(() => null);
      return { grant, provider, title: provider?.title ?? grant.provider };
    },
    [id],
  );
  const [note, setNote] = useState('');
  return (
    <>
      <a href={isPersonal ? '#wallet' : '#accounts'}>All accounts</a>
      {note !== '' && (
        <p class="banner" role="status">
          {note}
        </p>
      )}
      <Loaded of={read} skeleton={10}>
        {(found) => {
          const account: Account = { ...found, ...read };
          const { grant, provider, title } = found;
          return (
            <>
              <h2>
                <Icon provider={grant.provider} /> {grant.name} <Badge state={grant.state} />{' '}
                {grant.ends_soon && <Badge state="ends_soon" />}
              </h2>
              <Problem {...account} />
              <div class="split">
                <section class="card">
                  <h3>Account</h3>
                  <Facts
                    of={{
                      account: grant.account,
                      'also known as': otherNames(grant),
                      user: !isPersonal && grant.user,
                      service: title,
                      'it may': grant.scopes.map((scope) => scopeText(scope, provider)).join('; '),
                      'sent only to': grant.audience.join(', '),
                      'responses gave': grant.minted.map(({ name }) => name).join(', '),
                    }}
                  />
                </section>
                {!isPersonal && <Reached {...grant} />}
              </div>
              <Renewal of={grant} />
              {may('grants:write') && grant.state !== 'revoked' && (
                <Changes account={account} ended={setNote} />
              )}
              {may('audit:read') && (
                <Uses
                  // Changes and failures of the account are among its events.
                  key={`${grant.revision} ${grant.failed_at}`}
                  of={path`grant=${grant.id}`}
                  title="Who used it, when, for what"
                />
              )}
            </>
          );
        }}
      </Loaded>
    </>
  );
}

/** Returns what a scope allows, with its name. */
function scopeText(scope: string, provider: Service | null): string {
  const what = provider?.known_scopes[scope];
  return what === undefined ? scope : `${what} (${scope})`;
}

/** Returns further names of the account. Omits pictures: the provider would learn who views this page. */
function otherNames({ account, account_details: details }: Grant): string {
  return Object.entries(details)
    .filter(([name, value]) => name !== 'picture' && value !== account)
    .map(([name, value]) => `${name === 'sub' ? 'id' : name.replaceAll('_', ' ')} ${value}`)
    .join(', ');
}

const linked = (agents: readonly string[]) =>
  [...new Set(agents)].map((name) => [<a href={path`#agents/${name}`}>{name}</a>, ' ']);

/** The callers and hosts of an account. */
function Reached({ reached_by: { agents, active_leases: leases }, domains }: Grant): JSX.Element {
  return (
    <section class="card">
      <h3>Who reaches it</h3>
      <Facts
        of={{
          agents: agents.length > 0 ? linked(agents.map(({ name }) => name)) : 'none',
          leases: leases.length > 0 && linked(leases.map(({ agent }) => agent)),
          hosts: domains.length > 0 ? <a href="#rules">{domains.join(', ')}</a> : 'none',
        }}
      />
    </section>
  );
}

/** The last failure, with the button that helps. */
function Problem(account: Account): JSX.Element | null {
  const { name, state, state_reason, failure, failed_at, refreshable, type, provider } = account.grant;
  const reason = state_reason ?? failure;
  const isActive = state === 'active';
  if (reason === null && isActive) return null;
  const wayOut = () => {
    if (isActive) return refreshable && <Action label="Try the renewal again" run={() => renew(account)} />;
    if (type === 'oauth2') return <Action label="Reconnect" run={() => consent(account)} />;
    return (
      <a class="button" href={path`#connect/${provider}/${name}`}>
        Replace the key
      </a>
    );
  };
  return (
    <div class="banner">
      <span>
        {!isActive && 'Programs cannot use it until you connect it again. '}
        {reason}{' '}
        {failed_at !== null && (
          <small>
            <Time at={failed_at} />
          </small>
        )}
      </span>
      {may('grants:write') && wayOut()}
    </div>
  );
}
