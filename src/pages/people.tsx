import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Legacy } from './legacy.tsx';
import { people } from './people.ts';

/**
 * Page "People".
 *
 * Its view is not ported to Preact yet.
 */

export function People({ me, signal }: PageProps): JSX.Element {
  return <Legacy view={people} me={me} signal={signal} />;
}
