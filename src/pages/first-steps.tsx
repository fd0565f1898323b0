import type { ReadonlySignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { asTyped } from './api.ts';
import { Loaded } from './parts.tsx';
import { Action } from './remedy.tsx';
import { useAnswer } from './resource.ts';

/** The three steps to the first request. `changes` advances with events of the audit log. */
export function FirstSteps({ changes }: { readonly changes: ReadonlySignal<number> }): JSX.Element {
  const status = useAnswer<{ store: { grants: number } }>('GET /v2/status');
  // A grant may be added elsewhere, which is an event.
  useEffect(() => changes.subscribe(() => void status.reload()), []);
  const command = asTyped('sidekey run -- claude');
  return (
    <Loaded of={status} skeleton={9}>
      {({ store: { grants } }) => (
        <ol class="steps">
          <li class={grants > 0 ? 'card done' : 'card'}>
            <h2>Connect an account</h2>
            <p>
              {grants > 0
                ? `${grants === 1 ? 'One account is' : `${grants} accounts are`} connected.`
                : 'Sign in to a service, or paste a key. Agents use it and never see it.'}
            </p>
            <a class={grants > 0 ? 'button quiet' : 'button'} href="#connect">
              {grants > 0 ? 'Connect another' : 'Connect'}
            </a>
          </li>
          <li class="card">
            <h2>Run an agent</h2>
            <p>Start it in a terminal, with the command that you use otherwise:</p>
            <pre>{command}</pre>
            <div class="buttons">
              <Action label="Copy" kind="quiet" run={() => navigator.clipboard.writeText(command)} />
              <a href="#agents">Set up an agent elsewhere, such as in a container</a>
            </div>
          </li>
          <li class="card">
            <h2>Watch its requests</h2>
            <p role="status">Waiting for the first request. This page shows it when it comes.</p>
          </li>
        </ol>
      )}
    </Loaded>
  );
}
