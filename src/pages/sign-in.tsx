import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { asTyped, call, startSession } from './api.ts';
import { Loaded } from './parts.tsx';
import { signInWithPasskey } from './passkeys.tsx';
import { Action, Failure } from './remedy.tsx';
import { useAnswer } from './resource.ts';

/** Pages without a session: the methods to sign in, sign-in links, and the return from the issuer. */

/** Prefix of items with the sealed state of a sign-in at the issuer of `admin.oidc`. */
const flowItem = 'sidekey-sign-in-';

interface Session {
  readonly session: string;
  readonly return_to?: string;
}

/** The page for the address of the window. */
export function SignIn(): JSX.Element {
  const [, link] = /^\/sign-in\/([\w-]+)$/.exec(location.pathname) ?? [];
  if (link === 'open') return <Entering work={openedAtMachine} />;
  if (link !== undefined) {
    const work = () => call<Session>(`POST /sign-in/${link}`);
    // The link may come from somebody else, and programs that forward links open them.
    return <Entering work={work} question="This link works once. Sign in only if you asked for it." />;
  }
  return location.pathname === '/sign-in/oidc/callback' ? <Entering work={returned} /> : <Methods />;
}

function Frame(props: { readonly title: string; readonly children?: ComponentChildren }): JSX.Element {
  return (
    <main class="sign-in">
      <h1>{props.title}</h1>
      {props.children}
    </main>
  );
}

/** Begins the session, and opens the dashboard, or the page that required a sign-in. */
function enter({ session, return_to = '/' }: Session): void {
  startSession(session);
  location.replace(return_to);
}

/**
 * Uses up a link of `sidekey open`, which only this machine makes: nobody else can send a person here. The
 * secret is removed from the address, and so from the history, before it is sent.
 */
function openedAtMachine(): Promise<Session> {
  const secret = location.hash.slice(1);
  history.replaceState(null, '', location.pathname);
  return call('POST /sign-in/open', { secret });
}

/** Sends the response of the issuer, with the state that this browser stored for it. */
async function returned(): Promise<Session> {
  const item = flowItem + new URLSearchParams(location.search).get('state');
  const body = { parameters: location.search, flow: localStorage.getItem(item) ?? '' };
  localStorage.removeItem(item);
  const session = await call<Session>('POST /sign-in/oidc/callback', body);
  // Removes the state of other sign-ins in this browser.
  for (const name of Object.keys(localStorage).filter((each) => each.startsWith(flowItem)))
    localStorage.removeItem(name);
  return session;
}

interface EnteringProps {
  readonly work: () => Promise<Session>;
  /** Sentence above a button that begins; absent: begins at once. */
  readonly question?: string;
}

/** A sign-in, or the reason why it failed. */
function Entering({ work, question }: EnteringProps): JSX.Element {
  const [error, setError] = useState<Error | null>(null);
  const begin = () => work().then(enter, setError);
  useEffect(() => {
    if (question === undefined) void begin();
  }, []);
  if (error !== null) {
    return (
      <Frame title="You are not signed in">
        <div role="alert">
          <Failure error={error} />
        </div>
        <p>
          <a href="/">Back</a>
        </p>
      </Frame>
    );
  }
  if (question === undefined) return <Frame title="Signing in" />;
  return (
    <Frame title="Sign in to Sidekey">
      <p>{question}</p>
      <Action label="Sign in" run={begin} />
    </Frame>
  );
}

/** Opens the issuer, which sends the browser back to this address. */
async function signInAtIssuer(): Promise<void> {
  const return_to = location.pathname + location.search + location.hash;
  const { url, flow } = await call<{ url: string; flow: string }>('POST /sign-in/oidc', { return_to });
  localStorage.setItem(flowItem + new URL(url).searchParams.get('state'), flow);
  location.assign(url);
}

/** The methods to sign in. */
function Methods(): JSX.Element {
  const methods = useAnswer<{ issuer: string | null }>('GET /sign-in/oidc');
  return (
    <Frame title="Sign in to Sidekey">
      <Loaded of={methods} skeleton={1}>
        {({ issuer }) =>
          issuer !== null && (
            <p>
              <Action label={`Sign in with ${new URL(issuer).host}`} run={signInAtIssuer} />
            </p>
          )
        }
      </Loaded>
      {'PublicKeyCredential' in globalThis && (
        <p>
          <Action label="Sign in with a passkey" run={signInWithPasskey} />
        </p>
      )}
      <p>On the machine that runs Sidekey, this command signs you in:</p>
      <pre>
        <code>{asTyped('sidekey open')}</code>
      </pre>
      <p>Elsewhere, open the link that the operator gives you. It works once. The operator prints it with:</p>
      <pre>
        <code>{asTyped('sidekey person link NAME')}</code>
      </pre>
    </Frame>
  );
}
