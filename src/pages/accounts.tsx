import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { grants } from './grants.ts';

/**
 * Page "Accounts".
 *
 * Its view is not ported to Preact yet.
 */

export function Accounts({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={grants} me={me} signal={signal} />;
}
