import { type JSX, render } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Accounts } from './accounts.tsx';
import { Agents } from './agents.tsx';
import { ApiError, call, may, type Page, person, signOut } from './api.ts';
import { Approvals } from './approvals.tsx';
import { Audit } from './audit.tsx';
import { Connect } from './connect.tsx';
import { Health } from './health.tsx';
import { Login } from './login.tsx';
import { Now } from './now.tsx';
import { Passkeys } from './passkeys.tsx';
import { watchPending } from './pending.ts';
import { People } from './people.tsx';
import { consentWindow } from './popup.ts';
import { Action, Failure } from './remedy.tsx';
import { waiting } from './resource.ts';
import { Rules } from './rules.tsx';
import { SignIn } from './sign-in.tsx';
import { Wallet } from './wallet.tsx';
import type { Me } from '../sdk/client/operations.ts';

/** The dashboard: its navigation, and the page for the fragment of the address. */

interface Entry {
  readonly name: string;
  readonly title: string;
  /** Scope that the page needs; null: none. */
  readonly scope: Me['scopes'][number] | null;
  readonly page: Page;
  /** Absent: the navigation does not list the page. */
  readonly group?: string;
}

const entries: readonly Entry[] = [
  { name: 'now', title: 'Now', scope: 'status:read', page: Now, group: 'Watch' },
  { name: 'approvals', title: 'Approvals', scope: 'approvals:read', page: Approvals, group: 'Watch' },
  { name: 'audit', title: 'Audit', scope: 'audit:read', page: Audit, group: 'Watch' },
  { name: 'health', title: 'Health', scope: 'status:read', page: Health, group: 'Watch' },
  { name: 'connect', title: 'Connect', scope: 'grants:write', page: Connect, group: 'Set up' },
  { name: 'accounts', title: 'Accounts', scope: 'grants:read', page: Accounts, group: 'Set up' },
  { name: 'agents', title: 'Agents', scope: 'access:read', page: Agents, group: 'Set up' },
  { name: 'rules', title: 'Rules', scope: 'config:read', page: Rules, group: 'Set up' },
  { name: 'people', title: 'People', scope: 'config:read', page: People, group: 'Sign-in' },
  { name: 'passkeys', title: 'Passkeys', scope: null, page: Passkeys, group: 'Sign-in' },
  { name: 'login', title: 'Command line', scope: null, page: Login },
];

/** Pages of people who only have accounts of their own. */
const personal: readonly Entry[] = [
  { name: 'wallet', title: 'Your accounts', scope: 'grants:read', page: Wallet, group: 'You' },
  { name: 'connect', title: 'Connect', scope: 'grants:write', page: Connect, group: 'You' },
  { name: 'passkeys', title: 'Passkeys', scope: null, page: Passkeys, group: 'You' },
  { name: 'login', title: 'Command line', scope: null, page: Login },
];

/** Returns the parts of the address after `#`. */
const parts = () => location.hash.slice(1).split('/');

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function Dashboard({ me }: { readonly me: Me }): JSX.Element {
  const isPersonal = me.role === 'user';
  // Each visit shows the page anew, also at the same address.
  const [{ visit, at }, setPlace] = useState(() => ({ visit: 0, at: parts() }));
  const [wanted, ...args] = at;
  const [isOpen, setOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const allowed = (isPersonal ? personal : entries).filter(({ scope }) => scope === null || may(scope));
  const entry = allowed.find(({ name }) => name === wanted) ?? allowed[0]!;
  // Before the first paint: a change of the address right after it is not missed.
  useLayoutEffect(() => {
    const changed = () => {
      setPlace(({ visit }) => ({ visit: visit + 1, at: parts() }));
      setOpen(false);
      scrollTo(0, 0);
      main.current?.focus();
    };
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  useEffect(() => (may('approvals:read') ? watchPending() : undefined), []);
  const { value: count } = waiting;
  // With the change of the page: an effect after the paint would show an old title for a moment.
  useLayoutEffect(() => {
    document.title = `${count > 0 ? `(${count}) ` : ''}${entry.title} · Sidekey`;
  });
  const listed = allowed.filter(({ group }) => group !== undefined);
  const groups = Object.entries(Object.groupBy(listed, ({ group = '' }) => group));
  return (
    <>
      <header class={isOpen ? 'open' : ''}>
        <strong>Sidekey</strong>
        <button
          type="button"
          class="quiet menu"
          aria-expanded={isOpen}
          aria-controls="pages"
          onClick={() => setOpen(!isOpen)}
        >
          Menu
        </button>
        <nav id="pages" aria-label="Pages">
          {groups.map(([group, members = []]) => (
            <div key={group} role="group" aria-label={group}>
              <span aria-hidden="true">{group}</span>
              {members.map(({ name, title }) => (
                <a key={name} href={`#${name}`} aria-current={name === entry.name ? 'page' : undefined}>
                  {title}
                  {name === 'approvals' && count > 0 && <span class="badge">{count}</span>}
                </a>
              ))}
            </div>
          ))}
        </nav>
        <div class="person">
          <span>{`${me.name} (${me.role})`}</span>
          <Action label="Sign out" kind="quiet" run={signOut} />
        </div>
      </header>
      <main ref={main} tabIndex={-1}>
        <div role="status" class="sticky">
          {consentWindow.value !== null && (
            <div class="banner">
              <strong>Finish in the other window.</strong>
              <span>If you see none, allow popups for this page, and try again.</span>
              <Action label="Cancel" kind="quiet" run={() => consentWindow.value?.close()} />
            </div>
          )}
        </div>
        <h1>{entry.title}</h1>
        <entry.page key={visit} args={args.map(decoded)} />
      </main>
    </>
  );
}

async function begin(): Promise<JSX.Element> {
  if (location.pathname.startsWith('/sign-in/')) return <SignIn />;
  try {
    person.value = await call<Me>('GET /v2/me');
    return <Dashboard me={person.value} />;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 401 || error.status === 429)) return <SignIn />;
    return (
      <main>
        <Failure error={error} />
      </main>
    );
  }
}

render(await begin(), document.body);
