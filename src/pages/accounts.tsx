import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { AccountPage } from './account.tsx';
import { type PageProps, path } from './api.ts';
import { Icon } from './icon.tsx';
import { Badge, Empty, Time } from './parts.tsx';
import { useSettled } from './resource.ts';
import { Rows, usePages } from './rows.tsx';
import type { GrantInList } from '../sdk/client/operations.ts';

/** The list of connected accounts, of any length. */

export function Accounts({ args: [id] }: PageProps): JSX.Element {
  return id ? <AccountPage id={id} /> : <List />;
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
            <Empty title="No account is connected yet.">Agents use an account, and never see its key.</Empty>
          ) : (
            <Empty title="No name begins here or later." />
          )
        }
      />
    </>
  );
}
