import type { JSX } from 'preact';
import { useContext, useMemo, useState } from 'preact/hooks';
import { consent, One, otherNames, type PartProps, titleOf } from './account.tsx';
import { call, type PageProps, path } from './api.ts';
import { Icon } from './icon.tsx';
import { namesIn } from './matrix.tsx';
import { Badge, Empty, Facts, Field, Form, Time } from './parts.tsx';
import { Action, Person } from './remedy.tsx';
import { useSettled } from './resource.ts';
import { Rows, usePages } from './rows.tsx';
import type { Grant, GrantInList } from '../sdk/client/operations.ts';

/** Connected accounts: a list of any length, and one account with its renewal. */

export function Accounts({ me, args: [id] }: PageProps): JSX.Element {
  if (id === undefined || id === '') return <List />;
  const back = <a href="#accounts">All accounts</a>;
  return <One id={id} me={me} back={back} content={Content} changes={Changes} />;
}

const rank = ({ state }: GrantInList) => (state === 'active' ? 1 : 0);
const typingMs = 200;

function List(): JSX.Element {
  const [text, setText] = useState('');
  const from = useSettled(text, typingMs);
  const pages = usePages<GrantInList>(`/v2/grants${from === '' ? '' : path`?start=${from}`}`);
  // Names order a long list. A short one begins with those that need attention.
  const isShort = pages.isComplete && from === '';
  const entries = useMemo(
    () => (isShort ? pages.entries.toSorted((a, b) => rank(a) - rank(b)) : pages.entries),
    [pages.entries, isShort],
  );
  return (
    <>
      <div class="bar">
        <input
          type="search"
          aria-label="Find by name"
          placeholder="Find by name"
          onInput={({ currentTarget }) => setText(currentTarget.value.trim())}
        />
        <a class="button end" href="#connect">
          Connect an account
        </a>
      </div>
      <Rows
        key={from}
        caption="Connected accounts"
        headings={['Name', 'State', 'Account', 'Last use', 'Service', 'User', 'Token ends']}
        columns="minmax(9rem, 2fr) minmax(8rem, 1fr) minmax(6rem, 2fr) 8rem 6rem 5rem 7rem"
        source={{ ...pages, entries }}
        row={(grant) => [
          <>
            <Icon provider={grant.provider} /> <a href={`#accounts/${grant.id}`}>{grant.name}</a>
          </>,
          <>
            <Badge state={grant.state} /> {grant.ends_soon && <Badge state="ends_soon" />}
          </>,
          grant.account ?? '–',
          <Time at={grant.used_at} />,
          grant.provider,
          grant.user,
          grant.refreshable ? 'renews itself' : <Time at={grant.expires_at} none="no end" />,
        ]}
        none={
          from === '' ? (
            <Empty
              title="No account is connected yet."
              action={
                <a class="button" href="#connect">
                  Connect an account
                </a>
              }
            />
          ) : (
            <Empty title="No name begins here or later." />
          )
        }
      />
    </>
  );
}

/** Facts of an account for operators. */
function Content({ of, reload }: PartProps): JSX.Element {
  const { grant } = of;
  const { agents, active_leases: leases } = grant.reached_by;
  return (
    <>
      <Problem of={of} reload={reload} />
      <div class="split">
        <section class="card">
          <h3>Account</h3>
          <Facts
            of={{
              account: grant.account,
              'also known as': otherNames(grant),
              user: grant.user,
              service: titleOf(of),
              scopes: grant.scopes.join(' '),
              'may be sent to': grant.audience.join(', '),
            }}
          />
        </section>
        <section class="card">
          <h3>Who reaches it</h3>
          <Facts
            of={{
              agents: named(agents.map(({ name }) => name)) ?? 'none',
              leases: named(leases.map(({ agent }) => agent)),
              hosts: grant.domains.length > 0 ? <a href="#rules">{grant.domains.join(', ')}</a> : 'none',
            }}
          />
        </section>
      </div>
      <Renewal of={grant} />
    </>
  );
}

/** Returns links to agents; null: there are none. */
function named(agents: readonly string[]): JSX.Element[] | null {
  if (agents.length === 0) return null;
  return [...new Set(agents)].map((name) => (
    <span key={name}>
      <a href={path`#agents/${name}`}>{name}</a>{' '}
    </span>
  ));
}

/** The last failure, with the button that helps. */
function Problem({ of, reload }: PartProps): JSX.Element | null {
  const { grant } = of;
  const mayChange = useContext(Person)?.scopes.includes('grants:write') === true;
  const reason = grant.state_reason ?? grant.failure;
  if (reason === null && grant.state === 'active') return null;
  const isByConsent = grant.type === 'oauth2';
  return (
    <div class="banner">
      <span>
        {reason ?? 'The access has ended.'}{' '}
        {grant.failed_at !== null && (
          <small>
            <Time at={grant.failed_at} />
          </small>
        )}
      </span>
      {mayChange && grant.state === 'active' && grant.refreshable && (
        <Action label="Try the renewal again" run={() => renew(grant, reload)} />
      )}
      {mayChange && grant.state !== 'active' && isByConsent && (
        <Action label="Reconnect" run={() => consent({ of, reload })} />
      )}
      {mayChange && grant.state !== 'active' && !isByConsent && (
        <a class="button" href={path`#connect/${grant.provider}`}>
          Replace the key
        </a>
      )}
    </div>
  );
}

async function renew({ id }: Grant, reload: () => Promise<void>): Promise<void> {
  try {
    await call(path`POST /v2/grants/${id}/refresh`, { force: true });
  } finally {
    await reload();
  }
}

const coming: Readonly<Record<string, string>> = {
  refresh_ahead: 'Sidekey renews the token',
  keep_alive: 'Sidekey renews the token, so that it does not lapse unused',
  refresh_on_use: 'the next request renews the token',
  end: 'the token ends, and nothing renews it',
  consent: 'nothing, until somebody consents again',
};

/** The life of the token: a line from its start to its last end, with its events. */
function Renewal({ of: grant }: { readonly of: Grant }): JSX.Element | null {
  const now = Date.now();
  const marks = (
    [
      ['last use', grant.used_at, ''],
      ['last renewal', grant.refreshed_at, 'good'],
      ['last failure', grant.failed_at, 'bad'],
      ['renewal due', grant.refresh_due_at, 'good'],
      ['token ends', grant.expires_at, ''],
      ['renewal lapses', grant.refresh_token_dies_at, 'bad'],
      ['consent ends', grant.consent_ends_at, 'bad'],
      ['access ends', grant.settings.expires_at, 'bad'],
    ] as const
  ).flatMap(([name, at, kind]) => (at === null ? [] : [{ name, at, kind, ms: Date.parse(at) }]));
  const start = Date.parse(grant.obtained_at ?? '') || Math.min(now, ...marks.map(({ ms }) => ms));
  const end = Math.max(now, ...marks.map(({ ms }) => ms));
  const left = (ms: number) =>
    `${Math.max(0, Math.min(100, ((ms - start) / Math.max(1, end - start)) * 100))}%`;
  const what = coming[grant.next.what];
  if (marks.length === 0 && what === undefined) return null;
  return (
    <section class="card">
      <h3>Renewal</h3>
      {end > now && (
        <div class="timeline" aria-hidden="true">
          <span class="past" style={{ width: left(now) }} />
          {marks.map(({ name, ms, kind }) => (
            <span key={name} class={`mark ${kind || 'neutral'}`} style={{ left: left(ms) }} title={name} />
          ))}
          <span class="mark now" style={{ left: left(now) }} title="now" />
        </div>
      )}
      <Facts
        of={{
          connected: grant.obtained_at !== null && <Time at={grant.obtained_at} />,
          ...Object.fromEntries(marks.map(({ name, at }) => [name, <Time at={at} />])),
          'comes next': what !== undefined && (
            <>
              {what} {Date.parse(grant.next.at ?? '') > now && <Time at={grant.next.at} />}
            </>
          ),
        }}
      />
    </section>
  );
}

/** Changes of the consent and of the token. */
function Changes({ of, reload }: PartProps): JSX.Element {
  const { grant, provider } = of;
  const known = Object.entries(provider?.known_scopes ?? {});
  const extend = ({ scopes = '' }) => consent({ of, reload, scopes: namesIn(scopes) });
  return (
    <>
      {grant.type === 'oauth2' && (
        <Form label="Ask for more" submit={extend}>
          <Field label="Further scopes" name="scopes" list="known-scopes" required />
          <datalist id="known-scopes">
            {known.map(([name, what]) => (
              <option key={name} value={name} label={what} />
            ))}
          </datalist>
        </Form>
      )}
      {grant.refreshable && (
        <Action label="Renew the token now" kind="quiet" run={() => renew(grant, reload)} />
      )}
      {grant.type === 'oauth2' && (
        <Action label="Consent again" kind="quiet" run={() => consent({ of, reload })} />
      )}
    </>
  );
}
