import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { login } from './login.ts';

/**
 * Page "Login".
 *
 * Its view is not ported to Preact yet.
 */

export function Login({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={login} me={me} signal={signal} />;
}
