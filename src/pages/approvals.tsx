import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { approvals } from './approvals.ts';

/**
 * Page "Approvals".
 *
 * Its view is not ported to Preact yet.
 */

export function Approvals({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={approvals} me={me} signal={signal} />;
}
