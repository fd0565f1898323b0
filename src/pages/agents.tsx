import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { access } from './agents.ts';

/**
 * Page "Agents".
 *
 * Its view is not ported to Preact yet.
 */

export function Agents({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={access} me={me} signal={signal} />;
}
