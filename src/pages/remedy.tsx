import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { asTyped, call, may, path, person } from './api.ts';
import type { Remedy } from '../sdk/client/operations.ts';

/** Actions, their failures, and the ways out of a failure: buttons, links, and the hint. */

interface ActionProps {
  /** Whole text of the button. */
  readonly label: string;
  readonly run: () => unknown;
  /** Class of the button: `quiet`, `good`, `danger`; absent: the main action. */
  readonly kind?: string;
  readonly disabled?: boolean;
}

/** Runs the work of a button or a form, and holds its last failure. */
export function useWork() {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const run = async (work: () => unknown) => {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (thrown) {
      setError(thrown);
    }
    setBusy(false);
  };
  return { isBusy, failure: error !== null && <Failure error={error} />, run };
}

/** A button that is disabled during its work, and shows a failure beside it. */
export function Action({ label, run, kind = '', disabled = false }: ActionProps): JSX.Element {
  const work = useWork();
  return (
    <span class="action">
      <button
        type="button"
        class={kind}
        disabled={work.isBusy || disabled}
        onClick={() => void work.run(run)}
      >
        {label}
      </button>
      <span role="status">{work.failure}</span>
    </span>
  );
}

/** An error as a sentence, with the ways out of it. Children are further ones. */
export function Failure({ error, children }: { error: unknown; children?: ComponentChildren }): JSX.Element {
  const { message, hint = null, remedies = [] } = error as Error & Partial<WayOutProps>;
  return (
    <div class="failure">
      <p>{message}</p>
      <WayOut hint={hint} remedies={remedies} />
      {children}
    </div>
  );
}

/** Pages for the nouns of operations. */
const pages: Readonly<Record<string, string>> = {
  agent: 'agents',
  approval: 'approvals',
  connect: 'connect',
  domain: 'rules',
  grant: 'accounts',
  lease: 'agents',
  person: 'people',
  proposal: 'approvals',
};

interface WayOutProps {
  readonly hint: string | null;
  readonly remedies: readonly Remedy[];
  /** Called after an action; absent: the document is loaded again. */
  readonly done?: () => unknown;
}

const isRefresh = ({ operation }: Remedy) => operation === 'grant.refresh';

/** The ways out of a problem. Commands are only for operators, and before the sign-in. */
export function WayOut({ hint, remedies, done = () => location.reload() }: WayOutProps): JSX.Element {
  const refresh = async ({ grant, user, force }: Readonly<Record<string, string>>) => {
    const query = user === undefined ? '' : path`?user=${user}`;
    await call(`POST ${path`/v2/grants/${grant ?? ''}/refresh`}${query}`, { force });
    await done();
  };
  const links = remedies.flatMap((remedy) =>
    isRefresh(remedy) ? [] : (pages[remedy.operation.split('.', 1)[0] ?? ''] ?? []),
  );
  const isCommand = hint !== null && /\bsidekey(?:\.js)? /.test(hint);
  const isOperator = (person.value?.role ?? 'operator') === 'operator';
  return (
    <>
      <div class="buttons">
        {may('grants:write') &&
          remedies
            .filter((remedy) => isRefresh(remedy) && !Object.values(remedy.input).includes(null))
            .map(({ input }, index) => (
              <Action
                key={index}
                label="Refresh it now"
                run={() => refresh(input as Record<string, string>)}
              />
            ))}
        {[...new Set(links)].map((name) => (
          <a key={name} href={`#${name}`}>{`Open ${name}`}</a>
        ))}
      </div>
      {hint !== null && (!isCommand || isOperator) && <code>{asTyped(hint)}</code>}
    </>
  );
}
