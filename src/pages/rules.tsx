import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { domains } from './domains.ts';

/**
 * Page "Rules".
 *
 * Its view is not ported to Preact yet.
 */

export function Rules({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={domains} me={me} signal={signal} />;
}
