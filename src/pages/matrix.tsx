import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { all, call, path } from './api.ts';
import { Field, Form, Loaded, Table } from './parts.tsx';
import { useResource } from './resource.ts';
import { words } from './rule-fields.ts';
import type { Agent, Domain, GrantInList } from '../sdk/client/operations.ts';

interface Caller extends Pick<Agent, 'name' | 'state'> {
  /** Grants that the caller can use; null: every grant. */
  readonly reaches: Agent['reaches'] | null;
}

/** Agents that the matrix shows at a time. Each needs a request. */
const maxColumns = 20;

type Status = Readonly<Record<'proxy' | 'domains', Readonly<Record<string, string>>>>;

/** Hosts with an account, and the callers that get its credential there. */
export function Matrix({ agents }: { readonly agents: readonly string[] }): JSX.Element {
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const names = chosen.length > 0 ? chosen : agents.slice(0, maxColumns);
  const matrix = useResource(
    async (signal) => {
      const [domains, status, callers] = await Promise.all([
        all<Domain>('/v2/domains', signal),
        call<Status>('GET /v2/status', undefined, signal),
        Promise.all(names.map((name) => call<Agent>(path`GET /v2/agents/${name}`, undefined, signal))),
      ]);
      const anybody: Caller = { name: 'no token, on this machine', state: 'enabled', reaches: null };
      return {
        domains: domains.filter(({ action }) => action === 'grant'),
        unmatched: status.domains['unmatched'],
        callers: status.proxy['agents'] === 'optional' ? [...callers, anybody] : callers,
      };
    },
    [names.join()],
  );
  return (
    <>
      {agents.length > maxColumns && (
        <Form
          label="Show"
          keep
          submit={({ names: text = '' }) => setChosen(words(text).slice(0, maxColumns))}
        >
          <Field label={`Agents: names, separated by commas; at most ${maxColumns}`} name="names" />
        </Form>
      )}
      <Loaded of={matrix}>
        {({ domains, callers, unmatched }) => (
          <>
            <div class="wide" tabIndex={0} role="region" aria-label="Who may call what">
              <Table
                caption="Hosts, and the callers that get a credential there"
                headings={['Host', ...callers.map(({ name }) => name)]}
                rows={domains.map((domain) => [
                  domain.domain,
                  ...callers.map((caller) => answerFor(caller, domain)),
                ])}
                none="No host has an account."
              />
            </div>
            <p class="none">
              {unmatched === 'deny'
                ? 'Other hosts are refused.'
                : 'Other hosts are reached by everybody, without a credential.'}
            </p>
          </>
        )}
      </Loaded>
    </>
  );
}

/** Returns the access of a caller to a host, with the account: `yes`, `by the rules`, `asks`. */
function answerFor(
  { state, reaches }: Caller,
  { grants = [], rules = [], default: rest = 'allow', mode }: Domain,
): string {
  const reached = grants.filter(({ id }) => reaches === null || reaches.some((grant) => grant.id === id));
  const usable = reached.filter((grant) => grant.state === 'active');
  const outcomes = mode === 'report' ? ['allow'] : [...rules.map(({ outcome }) => outcome), rest];
  const may = ['allow', 'approve'].filter((each) => outcomes.includes(each));
  if (state !== 'enabled' || reached.length === 0 || may.length === 0) return '–';
  const names = (usable.length > 0 ? usable : reached).map(referenceOf).join(', ');
  if (usable.length === 0) return `no: ${names} ${reached[0]!.state.replaceAll('_', ' ')}`;
  const ways = [
    outcomes.every((each) => each === 'allow') && 'yes',
    new Set(outcomes).size > 1 && 'by the rules',
    may.includes('approve') && 'asks a person',
  ].filter((way) => way !== false);
  return `${ways.join(', ')}: ${names}`;
}

export function referenceOf({ name, user }: Pick<GrantInList, 'name' | 'user'>): string {
  return user === 'default' ? name : `${user}/${name}`;
}
