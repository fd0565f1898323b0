import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { grants } from './grants.ts';

/**
 * Page "Wallet".
 *
 * Its view is not ported to Preact yet.
 */

export function Wallet({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={grants} me={me} signal={signal} />;
}
