import type { JSX } from 'preact';
import { Facts, Time } from './parts.tsx';
import type { Grant } from '../sdk/client/operations.ts';

const coming: Readonly<Record<string, string>> = {
  refresh_ahead: 'Sidekey renews the token',
  keep_alive: 'Sidekey renews the token, so that it does not lapse unused',
  refresh_on_use: 'the next request renews the token',
  end: 'the token ends, and nothing renews it',
  consent: 'nothing, until somebody consents again',
};

/** The life of the token: a line from its start to its last end, with its events. */
export function Renewal({ of: grant }: { readonly of: Grant }): JSX.Element | null {
  const now = Date.now();
  const marks = (
    [
      ['last use', grant.used_at, ''],
      ['last renewal', grant.refreshed_at, 'good'],
      ['last failure', grant.failed_at, 'bad'],
      ['renewal due', grant.refresh_due_at, 'good'],
      ['token ends', grant.expires_at, ''],
      ['renewal lapses', grant.refresh_token_dies_at, 'bad'],
      ['consent ends', grant.consent_ends_at, 'bad'],
      ['access ends', grant.settings.expires_at, 'bad'],
    ] as const
  ).flatMap(([name, at, kind]) => (at === null ? [] : [{ name, at, kind, ms: Date.parse(at) }]));
  const start = Date.parse(grant.obtained_at ?? '') || Math.min(now, ...marks.map(({ ms }) => ms));
  const end = Math.max(now, ...marks.map(({ ms }) => ms));
  const left = (ms: number) =>
    `${Math.max(0, Math.min(100, ((ms - start) / Math.max(1, end - start)) * 100))}%`;
  const what = coming[grant.next.what];
  if (marks.length === 0 && what === undefined) return null;
  return (
    <section class="card">
      <h3>Renewal</h3>
      {end > now && (
        <div class="timeline" aria-hidden="true" style={{ '--now': left(now) }}>
          {marks.map(({ name, ms, kind }) => (
            <span key={name} class={`mark ${kind || 'neutral'}`} style={{ left: left(ms) }} title={name} />
          ))}
        </div>
      )}
      <Facts
        of={{
          connected: grant.obtained_at !== null && <Time at={grant.obtained_at} />,
          ...Object.fromEntries(marks.map(({ name, at }) => [name, <Time at={at} />])),
          'comes next': what !== undefined && (
            <>
              {what} {Date.parse(grant.next.at ?? '') > now && <Time at={grant.next.at} />}
            </>
          ),
        }}
      />
    </section>
  );
}
