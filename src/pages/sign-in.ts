import { call, startSession } from './api.ts';
import { action, type Child, failure, h } from './dom.ts';
import { signInWithPasskey } from './passkeys.tsx';

/** The sign-in: its methods, the page of a link, and the return from the issuer of `admin.oidc`. */

/** Prefix of items with the sealed state of a sign-in at the issuer. */
const flowItem = 'sidekey-sign-in-';

function page(title: string, ...content: readonly Child[]): HTMLElement {
  return h('main', { class: 'sign-in' }, h('h1', {}, title), ...content);
}

/** Opens the issuer, which sends the browser back to this view. */
async function signInAtIssuer(): Promise<void> {
  const return_to = location.pathname + location.search + location.hash;
  const { url, flow } = await call<{ url: string; flow: string }>('POST /sign-in/oidc', { return_to });
  localStorage.setItem(flowItem + new URL(url).searchParams.get('state'), flow);
  location.assign(url);
}

/** Returns the page after the issuer's response: the reason why nobody is signed in, or briefly nothing. */
export async function finished(): Promise<HTMLElement> {
  const item = flowItem + new URLSearchParams(location.search).get('state');
  const body = { parameters: location.search, flow: localStorage.getItem(item) ?? '' };
  localStorage.removeItem(item);
  try {
    const { session, return_to } = await call<{ session: string; return_to: string }>(
      'POST /sign-in/oidc/callback',
      body,
    );
    startSession(session);
    // Removes the state of other sign-ins in this browser.
    for (const name of Object.keys(localStorage).filter((each) => each.startsWith(flowItem)))
      localStorage.removeItem(name);
    location.replace(return_to);
    return page('You are signed in', h('p', {}, h('a', { href: return_to }, 'Continue')));
  } catch (error) {
    return page('You are not signed in', failure(error), h('p', {}, h('a', { href: '/' }, 'Back')));
  }
}

/** Returns the page of a sign-in link. Only its button uses up the link. */
export function linkOpened(link: string): HTMLElement {
  const signIn = async () => {
    const { session } = await call<{ session: string }>(`POST /sign-in/${link}`);
    startSession(session);
    location.replace('/');
  };
  return page(
    'Sign in to Sidekey',
    h('p', {}, 'This link works once. Sign in only if you asked for it.'),
    h('p', {}, action('Sign in', signIn)),
  );
}

/** Returns the page for a browser without a session. */
export async function signedOut(): Promise<HTMLElement> {
  const { issuer } = await call<{ issuer: string | null }>('GET /sign-in/oidc');
  return page(
    'Sign in to Sidekey',
    issuer !== null && h('p', {}, action(`Sign in with ${new URL(issuer).host}`, signInAtIssuer)),
    'PublicKeyCredential' in globalThis && h('p', {}, action('Sign in with a passkey', signInWithPasskey)),
    h('p', {}, 'Open the link that the operator gives you. It works once. The operator prints it with:'),
    h('pre', {}, h('code', {}, 'sidekey person create NAME --role operator\nsidekey person link NAME')),
  );
}
