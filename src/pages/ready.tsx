import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { all, asTyped, call } from './api.ts';
import { Choice, Loaded, Once } from './parts.tsx';
import { Action } from './remedy.tsx';
import { useResource } from './resource.ts';
import { setUps } from './setup.ts';
import type { CreatedLease } from '../sdk/client/operations.ts';

/** A new token of an agent or a lease, as the API answers it once. */
export type Secret = Pick<CreatedLease, 'token' | 'proxy_url'>;

/** A token that the page shows. It is only in the memory of the page. */
export interface Made extends Secret {
  /** Whose token it is: `the agent ci`. */
  readonly of: string;
}

/** A new token, with the lines for the programs that it is for. */
export function Ready({ made, done }: { readonly made: Made; readonly done: () => void }): JSX.Element {
  const [chosen, setChosen] = useState('Claude Code');
  const facts = useResource(async (signal) => {
    const [ca, domains] = await Promise.all([
      call<{ certificate: string }>('GET /v2/ca', undefined, signal),
      all<{ action: string; domain: string }>('/v2/domains', signal),
    ]);
    const host = domains.find(({ action, domain }) => action === 'grant' && !domain.includes('*'));
    return { certificate: ca.certificate, url: `https://${host?.domain ?? 'api.github.com'}/` };
  });
  return (
    <section aria-label="The new token">
      <Once
        title={`The token of ${made.of}. It is shown once, and is stored nowhere.`}
        secret={made.token}
        done={done}
      />
      <h2>Set it up</h2>
      <Loaded of={facts} skeleton={3}>
        {({ certificate, url }) => {
          const programs = setUps({ proxyUrl: made.proxy_url, certificate, url });
          const { texts, note } = programs.find(({ title }) => title === chosen)!;
          return (
            <>
              <Choice
                label="Program"
                name="program"
                options={programs.map(({ title }) => title)}
                chosen={chosen}
                onChange={setChosen}
              />
              {texts.map(([place, text]) => (
                <div key={place}>
                  <h3>{place}</h3>
                  <pre tabIndex={0} aria-label={place}>
                    <code>{asTyped(text)}</code>
                  </pre>
                  <Action
                    label="Copy"
                    kind="quiet"
                    run={() => navigator.clipboard.writeText(asTyped(text))}
                  />
                </div>
              ))}
              {note !== undefined && <p>{note}</p>}
            </>
          );
        }}
      </Loaded>
    </section>
  );
}
