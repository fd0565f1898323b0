import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { overview } from './overview.ts';

/**
 * Page "Now".
 *
 * Its view is not ported to Preact yet.
 */

export function Now({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={overview} me={me} signal={signal} />;
}
