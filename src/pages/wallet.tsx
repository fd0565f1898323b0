import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { AccountPage } from './account.tsx';
import { all, more, type PageProps, path, person } from './api.ts';
import { Icon } from './icon.tsx';
import type { Line } from './live.ts';
import { Badge, Empty, Loaded, Time } from './parts.tsx';
import { connectInPopup } from './popup.ts';
import { Action } from './remedy.tsx';
import { useAnswer, useResource } from './resource.ts';
import type { GrantInList, Provider } from '../sdk/client/operations.ts';

/** The accounts of one person, in words for people. */

export function Wallet({ args: [id] }: PageProps): JSX.Element {
  return id ? <AccountPage id={id} /> : <Cards />;
}

const weekMs = 604_800_000;

/** Returns "Used 12 times this week, by nightly-bot.", or that nobody used it. */
function usageOf({ used_at: last }: GrantInList, uses: readonly Line[], isWhole: boolean): string {
  if (uses.length === 0) return last === null ? 'Never used.' : isWhole ? 'Not used this week.' : '';
  const agents = [...new Set(uses.flatMap(({ agent }) => agent ?? []))];
  const by = agents.length === 0 ? '' : `, by ${new Intl.ListFormat('en').format(agents)}`;
  const times = uses.length === 1 ? 'once' : `${uses.length} times`;
  return `Used ${isWhole ? '' : 'at least '}${times} this week${by}.`;
}

function Cards(): JSX.Element {
  const wallet = useResource(async (signal) => {
    const since = new Date(Date.now() - weekMs).toISOString();
    const [grants, uses, providers] = await Promise.all([
      all<GrantInList>('/v2/grants', signal),
      more<Line>(`/v2/audit/events?event=outcome&since=${since}`, undefined, signal),
      all<Provider>('/v2/providers', signal),
    ]);
    return {
      grants,
      titles: new Map(providers.map(({ name, title }) => [name, title])),
      uses: Map.groupBy(uses.entries, ({ grant = '' }) => grant),
      isWhole: uses.next === null,
    };
  });
  return (
    <>
      <Loaded of={wallet} skeleton={6}>
        {({ grants, titles, uses, isWhole }) =>
          grants.length === 0 ? (
            <Empty title="You have no connected accounts yet.">
              An application that uses Sidekey sends you here when it needs one.
            </Empty>
          ) : (
            <div class="cards">
              {grants.map((grant) => {
                const title = titles.get(grant.provider) ?? grant.provider;
                return (
                  <section key={grant.id} class="card">
                    <h2>
                      <Icon provider={grant.provider} />{' '}
                      <a href={`#wallet/${grant.id}`}>{grant.account === null ? grant.name : title}</a>{' '}
                      {grant.state !== 'active' && <Badge state={grant.state} />}
                    </h2>
                    {grant.account !== null && <p>{`As ${grant.account}.`}</p>}
                    <p class="muted">
                      {usageOf(grant, uses.get(grant.id) ?? [], isWhole)}
                      {grant.used_at !== null && (
                        <>
                          {' '}
                          Last use: <Time at={grant.used_at} />.
                        </>
                      )}
                    </p>
                  </section>
                );
              })}
            </div>
          )
        }
      </Loaded>
      <p>
        <a class="button" href="#connect">
          Connect another
        </a>{' '}
        <BySignIn />
      </p>
    </>
  );
}

/** Services that the sign-in connects without a consent page. */
function BySignIn(): JSX.Element | null {
  const { user, name } = person.value!;
  const signIn = useAnswer<{ keeps: boolean }>('GET /sign-in/oidc');
  const [services, setServices] = useState<readonly Provider[] | null>(null);
  if (signIn.data?.keeps !== true) return null;
  const connect = async (provider: string) => {
    location.hash = path`#wallet/${await connectInPopup({ provider, user: user ?? name })}`;
  };
  const list = async () => setServices(await all<Provider>('/v2/providers?flow=id_jag'));
  return (
    <>
      <Action label="Services of your sign-in" kind="quiet" run={list} />
      {services?.length === 0 && 'No service takes it.'}
      {services?.map(({ name: service, title }) => (
        <Action key={service} label={`Connect ${title}`} run={() => connect(service)} />
      ))}
    </>
  );
}
