import { type ComponentChildren, createContext, type JSX } from 'preact';
import { useContext, useState } from 'preact/hooks';
import { call, path } from './api.ts';
import type { Me, Remedy } from '../sdk/client/operations.ts';

/** Actions, their failures, and the ways out of a failure: buttons, links, and the hint. */

/** The signed-in person. */
export const Person = createContext<Me | null>(null);

interface ActionProps {
  /** Whole text of the button. */
  readonly label: string;
  readonly run: () => unknown;
  /** Class of the button: `quiet`, `good`, `danger`; absent: the main action. */
  readonly kind?: string;
  readonly disabled?: boolean;
}

/** A button that is disabled during its work, and shows a failure beside it. */
export function Action({ label, run, kind = '', disabled = false }: ActionProps): JSX.Element {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const work = async () => {
    setBusy(true);
    setError(null);
    try {
      await run();
    } catch (thrown) {
      setError(thrown);
    }
    setBusy(false);
  };
  return (
    <span class="action">
      <button type="button" class={kind} disabled={isBusy || disabled} onClick={() => void work()}>
        {label}
      </button>
      <span role="status">{error !== null && <Failure error={error} />}</span>
    </span>
  );
}

interface FailureProps {
  readonly error: unknown;
  /** Further ways out. */
  readonly children?: ComponentChildren;
}

/** An error as a sentence, with the ways out of it. */
export function Failure({ error, children }: FailureProps): JSX.Element {
  const { message, hint = null, remedies = [] } = error as Error & Partial<WayOutProps>;
  return (
    <div class="failure">
      <p>{message}</p>
      <WayOut hint={hint} remedies={remedies} />
      {children}
    </div>
  );
}

type Input = Readonly<Record<string, string | undefined>>;

/** Operations that need no further choice, with the scope that they need. */
const buttons: Readonly<
  Record<
    string,
    { readonly label: string; readonly scope: Me['scopes'][number]; run(input: Input): Promise<unknown> }
  >
> = {
  'grant.refresh': {
    label: 'Refresh it now',
    scope: 'grants:write',
    run: ({ grant = '', user, force }) =>
      call(`POST ${path`/v2/grants/${grant}/refresh`}${user === undefined ? '' : path`?user=${user}`}`, {
        force,
      }),
  },
};

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

/** The ways out of a problem. Commands are only for operators, below the buttons. */
export function WayOut({ hint, remedies, done = () => location.reload() }: WayOutProps): JSX.Element {
  const me = useContext(Person);
  const actions = remedies.flatMap(({ operation, input }) => {
    const button = buttons[operation];
    if (button === undefined || Object.values(input).includes(null)) return [];
    if (me?.scopes.includes(button.scope) !== true) return [];
    const work = async () => {
      await button.run(input as Input);
      await done();
    };
    return [<Action key={operation} label={button.label} run={work} />];
  });
  const linked = remedies.filter(({ operation }) => buttons[operation] === undefined);
  const links = new Set(linked.flatMap(({ operation }) => pages[operation.split('.', 1)[0] ?? ''] ?? []));
  const isCommand = hint !== null && /\bsidekey(?:\.js)? /.test(hint);
  return (
    <>
      {actions}
      {[...links].map((name) => (
        <a key={name} href={`#${name}`}>{`Open ${name}`}</a>
      ))}
      {hint !== null && (!isCommand || me?.role === 'operator') && <code>{hint}</code>}
    </>
  );
}
