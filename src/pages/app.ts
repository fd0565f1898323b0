import { access } from './agents.ts';
import { ApiError, call, type Me, signOut, type View } from './api.ts';
import { approvals } from './approvals.ts';
import { audit } from './audit.ts';
import { domains } from './domains.ts';
import { action, failure, fill, h } from './dom.ts';
import { grants } from './grants.ts';
import { login } from './login.ts';
import { overview } from './overview.ts';
import { passkeys } from './passkeys.ts';
import { people } from './people.ts';
import { finished, linkOpened, signedOut } from './sign-in.ts';

/** The pages of Sidekey: navigation, and the view for the fragment of the address. */

interface Entry {
  readonly name: string;
  readonly title: string;
  /** Scope that the view needs; null: none. */
  readonly scope: string | null;
  readonly view: View;
  /** True if the navigation does not list the view. */
  readonly isHidden?: boolean;
}

const entries: readonly Entry[] = [
  { name: 'overview', title: 'Overview', scope: 'status:read', view: overview },
  { name: 'grants', title: 'Grants', scope: 'grants:read', view: grants },
  { name: 'approvals', title: 'Approvals', scope: 'approvals:read', view: approvals },
  { name: 'access', title: 'Agents', scope: 'access:read', view: access },
  { name: 'domains', title: 'Domains', scope: 'config:read', view: domains },
  { name: 'audit', title: 'Audit', scope: 'audit:read', view: audit },
  { name: 'people', title: 'People', scope: 'config:read', view: people },
  { name: 'passkeys', title: 'Passkeys', scope: null, view: passkeys },
  { name: 'login', title: 'Command line', scope: null, view: login, isHidden: true },
];

let shown = new AbortController();

async function show(me: Me, main: HTMLElement, nav: HTMLElement): Promise<void> {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const allowed = entries.filter(({ scope }) => scope === null || me.scopes.includes(scope));
  const wanted = location.hash.slice(1).split('/')[0];
  const entry = allowed.find(({ name }) => name === wanted) ?? allowed[0];
  if (entry === undefined) {
    fill(main, h('p', {}, 'Your role shows nothing here.'));
    return;
  }
  document.title = `${entry.title} · Sidekey`;
  fill(
    nav,
    ...allowed
      .filter(({ isHidden }) => isHidden !== true)
      .map(({ name, title }) =>
        h('a', { href: `#${name}`, 'aria-current': name === entry.name ? 'page' : null }, title),
      ),
  );
  const content = h('div', {});
  fill(
    main,
    h('h1', {}, me.role === 'user' && entry.name === 'grants' ? 'Your accounts' : entry.title),
    content,
  );
  try {
    await entry.view(content, me, signal);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) location.reload();
    else if (!signal.aborted) fill(content, failure(error));
  }
}

async function begin(): Promise<void> {
  const [, link] = /^\/sign-in\/([\w-]+)$/.exec(location.pathname) ?? [];
  if (link !== undefined) return fill(document.body, linkOpened(link));
  if (location.pathname === '/sign-in/oidc/callback') return fill(document.body, await finished());
  let me: Me;
  try {
    me = await call<Me>('GET /v2/me');
  } catch (error) {
    const isSignedOut = error instanceof ApiError && (error.status === 401 || error.status === 429);
    fill(document.body, isSignedOut ? await signedOut() : h('main', {}, failure(error)));
    return;
  }
  const nav = h('nav', { 'aria-label': 'Pages' });
  const main = h('main', { tabindex: -1 });
  fill(
    document.body,
    h(
      'header',
      {},
      h('strong', {}, 'Sidekey'),
      nav,
      h('div', {}, h('span', {}, `${me.name} (${me.role})`), action('Sign out', signOut, 'quiet')),
    ),
    main,
  );
  addEventListener('hashchange', () => {
    void show(me, main, nav);
    main.focus();
  });
  await show(me, main, nav);
}

await begin();
