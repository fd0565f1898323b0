import type { JSX } from 'preact';
import type { PageProps } from './api.ts';
import { Empty } from './parts.tsx';

/** Page "Connect". */

export function Connect({ args }: PageProps): JSX.Element {
  const [provider = 'PROVIDER'] = args;
  return (
    <Empty title="Connect a service on the command line">
      <code>{`sidekey connect ${provider}`}</code>
    </Empty>
  );
}
