import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { finished, linkOpened, signedOut } from './sign-in.ts';

/** Pages without a session: the methods to sign in, a sign-in link, and the return from the issuer. */

async function view(): Promise<HTMLElement> {
  const [, link] = /^\/sign-in\/([\w-]+)$/.exec(location.pathname) ?? [];
  if (link !== undefined) return linkOpened(link);
  return location.pathname === '/sign-in/oidc/callback' ? finished() : signedOut();
}

/** The page for the address of the window. */
export function SignIn(): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => void view().then((element) => box.current?.replaceChildren(element)), []);
  return <div class="sign-in" ref={box} />;
}
