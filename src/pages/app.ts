import { access } from './access.ts';
import { ApiError, call, type Me, type View } from './api.ts';
import { approvals } from './approvals.ts';
import { audit } from './audit.ts';
import { domains } from './domains.ts';
import { action, failure, fill, h } from './dom.ts';
import { grants } from './grants.ts';
import { login } from './login.ts';
import { overview } from './overview.ts';
import { passkeys, signInWithPasskey } from './passkeys.ts';
import { people } from './people.ts';

/** The pages of Sidekey: navigation, and the view that the fragment of the address names. */

interface Entry {
  readonly name: string;
  readonly title: string;
  /** Scope that the view needs; null: none. */
  readonly scope: string | null;
  readonly view: View;
  /** True: only an address leads to it. */
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

/** Goes to the issuer, which sends the browser back to this view. */
async function signInAtIssuer(): Promise<void> {
  const return_to = location.pathname + location.search + location.hash;
  const { url } = await call<{ url: string }>('POST /sign-in/oidc', { return_to });
  location.assign(url);
}

async function signedOut(): Promise<HTMLElement> {
  const { issuer } = await call<{ issuer: string | null }>('GET /sign-in/oidc');
  return h(
    'main',
    { class: 'sign-in' },
    h('h1', {}, 'Sign in to Sidekey'),
    issuer !== null && h('p', {}, action(`Sign in with ${new URL(issuer).host}`, signInAtIssuer)),
    'PublicKeyCredential' in globalThis && h('p', {}, action('Sign in with a passkey', signInWithPasskey)),
    h('p', {}, 'Open the link that the operator gives you. It works once. The operator prints it with:'),
    h('pre', {}, h('code', {}, 'sidekey person create NAME --role operator\nsidekey person link NAME')),
  );
}

async function begin(): Promise<void> {
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
      h(
        'form',
        { method: 'post', action: '/sign-out' },
        h('span', {}, `${me.name} (${me.role})`),
        h('button', { class: 'quiet' }, 'Sign out'),
      ),
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
