import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { audit } from './audit.ts';

/**
 * Page "Audit".
 *
 * Its view is not ported to Preact yet.
 */

export function Audit({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={audit} me={me} signal={signal} />;
}
