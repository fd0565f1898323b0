import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { consent, One, otherNames, type PartProps, providerOf, titleOf } from './account.tsx';
import { all, more, type PageProps, path } from './api.ts';
import { Icon } from './icon.tsx';
import { Badge, Empty, Facts, Loaded, Time } from './parts.tsx';
import { connectInPopup } from './popup.ts';
import { Action } from './remedy.tsx';
import { useAnswer, useResource } from './resource.ts';
import type { GrantInList, Me, Provider } from '../sdk/client/operations.ts';

/** The accounts of one person, in words for people. */

export function Wallet({ me, args: [id] }: PageProps): JSX.Element {
  if (id === undefined || id === '') return <Cards me={me} />;
  const back = <a href="#wallet">All your accounts</a>;
  return <One id={id} me={me} back={back} content={Content} />;
}

interface Use {
  readonly grant?: string;
  readonly agent?: string;
}

const weekMs = 604_800_000;

/** Returns "Used 12 times this week, by nightly-bot.", or that nobody used it. */
function usageOf({ used_at: last }: GrantInList, uses: readonly Use[], isWhole: boolean): string {
  if (uses.length === 0) return last === null ? 'Never used.' : isWhole ? 'Not used this week.' : '';
  const agents = [...new Set(uses.flatMap(({ agent }) => agent ?? []))];
  const by = agents.length === 0 ? '' : `, by ${new Intl.ListFormat('en').format(agents)}`;
  const times = uses.length === 1 ? 'once' : `${uses.length} times`;
  return `Used ${isWhole ? '' : 'at least '}${times} this week${by}.`;
}

function Cards({ me }: { readonly me: Me }): JSX.Element {
  const wallet = useResource(async (signal) => {
    const since = new Date(Date.now() - weekMs).toISOString();
    const [grants, uses] = await Promise.all([
      all<GrantInList>('/v2/grants', signal),
      more<Use>(`/v2/audit/events?event=outcome&since=${since}`, undefined, signal),
    ]);
    const names = [...new Set(grants.map(({ provider }) => provider))];
    const providers = await Promise.all(names.map((name) => providerOf(name, signal)));
    const titles = new Map(names.map((name, index) => [name, providers[index]?.title ?? name]));
    return {
      grants,
      titles,
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
        <BySignIn me={me} />
      </p>
    </>
  );
}

/** Services that the sign-in connects without a consent page. */
function BySignIn({ me: { user, name } }: { readonly me: Me }): JSX.Element | null {
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

/** Facts of an account for its person. */
function Content({ of, reload }: PartProps): JSX.Element {
  const { grant, provider } = of;
  return (
    <>
      {grant.state !== 'active' && grant.type === 'oauth2' && (
        <div class="banner">
          <span>{`Programs cannot use it until you consent again at ${titleOf(of)}.`}</span>
          <Action label="Reconnect" run={() => consent({ of, reload })} />
        </div>
      )}
      <section class="card">
        <Facts
          of={{
            service: titleOf(of),
            account: grant.account,
            'also known as': otherNames(grant),
            'it may': grant.scopes.map((scope) => provider?.known_scopes[scope] ?? scope).join('; '),
            'access ends': <Time at={grant.settings.expires_at} none="no end" />,
            'last use': <Time at={grant.used_at} />,
          }}
        />
      </section>
    </>
  );
}
