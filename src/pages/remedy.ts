import { call, type Me, path } from './api.ts';
import { action, type Child, h } from './dom.ts';

/** Ways out of a problem: its hint, a button for each action that a page can do, and links to pages. */

/** An operation that helps. Members of its input that are null are for the person to choose. */
export interface Remedy {
  readonly operation: string;
  readonly input: Readonly<Record<string, unknown>>;
}

/** Pages for the nouns of operations. */
const views: Readonly<Record<string, string>> = {
  agent: 'access',
  approval: 'approvals',
  domain: 'domains',
  grant: 'grants',
  lease: 'access',
  person: 'people',
  proposal: 'approvals',
};

/** Operations that need no further choice, with the scope that they need. */
const buttons: Readonly<
  Record<
    string,
    { readonly label: string; readonly scope: string; readonly run: (input: Input) => Promise<unknown> }
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

type Input = Readonly<Record<string, string | undefined>>;

/** Returns a hint with its ways out. The page is loaded again after an action. */
export function wayOut(hint: string | null, remedies: readonly Remedy[], { scopes }: Me): Child {
  const links = new Set<string>();
  const actions = remedies.flatMap(({ operation, input }) => {
    const button = buttons[operation];
    if (button !== undefined && scopes.includes(button.scope) && !Object.values(input).includes(null)) {
      const work = async () => {
        await button.run(input as Input);
        location.reload();
      };
      return [action(button.label, work)];
    }
    const view = views[operation.split('.', 1)[0] ?? ''];
    if (view !== undefined) links.add(view);
    return [];
  });
  return [
    hint !== null && h('code', {}, hint),
    ...[...actions, ...links].map((way) =>
      h('div', {}, typeof way === 'string' ? h('a', { href: `#${way}` }, `Open ${way}`) : way),
    ),
  ];
}
