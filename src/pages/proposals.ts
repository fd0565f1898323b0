import { all, call, path } from './api.ts';
import { action, facts, h, time } from './dom.ts';

type Change =
  | { readonly kind: 'domain'; readonly host: string; readonly grant: string | null }
  | { readonly kind: 'grant'; readonly provider: string; readonly scopes: readonly string[] }
  | { readonly kind: 'scope'; readonly grant: string; readonly scopes: readonly string[] };

/** A proposal with the effects of its acceptance. */
export interface Proposal {
  readonly id: string;
  readonly status: string;
  readonly agent: string | null;
  readonly lease: string | null;
  readonly change: Change;
  readonly reason: string;
  readonly expires_at: string;
  readonly answer: { readonly outcome: string } | null;
  readonly diff: string | null;
  readonly commands: readonly string[];
  readonly notes: readonly string[];
}

/** Returns the pending proposals. Reuses those in `known` instead of reading them again. */
export async function waitingProposals(known: readonly Proposal[]): Promise<readonly Proposal[]> {
  const listed = await all<Pick<Proposal, 'id' | 'status' | 'answer'>>('/v2/proposals');
  const waiting = listed.filter(({ status }) => status === 'waiting');
  return Promise.all(
    waiting.map(
      async ({ id, answer }) =>
        known.find((each) => each.id === id && each.answer?.outcome === answer?.outcome) ??
        call<Proposal>(path`GET /v2/proposals/${id}`),
    ),
  );
}

/** Returns a proposal with its effects, and buttons for people who may answer it. */
export function proposalArticle(
  { id, agent, lease, change, reason, expires_at: expiresAt, answer, diff, commands, notes }: Proposal,
  scopes: readonly string[],
  read: () => Promise<void>,
): HTMLElement {
  const mayAnswer = scopes.includes('approvals:write');
  const reply = (label: string, verb: string, kind: string, body?: unknown) =>
    action(
      label,
      async () => {
        await call(`${path`POST /v2/proposals/${id}`}/${verb}`, body);
        await read();
      },
      kind,
    );
  const isDomain = change.kind === 'domain';
  return h(
    'article',
    {},
    h('h2', {}, `${agent ?? 'A caller without a token'} proposes ${changeText(change)}`),
    facts({
      reason: h('q', {}, reason),
      credential: isDomain ? (change.grant ?? 'none: a tunnel that Sidekey does not look into') : null,
      scopes: isDomain ? null : change.scopes.join(' '),
      ends: time(expiresAt),
    }),
    ...notes.map((note) => h('p', {}, `Note: ${note}`)),
    diff !== null && [
      h('p', {}, 'For good, the config file changes:'),
      h('pre', { class: 'diff', tabindex: 0 }, ...diff.split('\n').slice(3).map(diffLine)),
    ],
    commands.length > 0 && [
      h('p', {}, answer === null ? 'After a yes, connect it with:' : 'Somebody said yes. Connect it with:'),
      h('pre', { tabindex: 0 }, h('code', {}, commands.join('\n'))),
    ],
    mayAnswer &&
      h(
        'p',
        {},
        isDomain && reply('Yes, for one request', 'accept', 'good', { reach: 'once' }),
        !isDomain && answer === null && reply('Yes', 'accept', 'good', {}),
        reply('No', 'decline', 'danger'),
        isDomain && lease !== null && reply('Yes, for the lease', 'accept', 'quiet', { reach: 'lease' }),
        isDomain && scopes.includes('config:write') && reply('Yes, for good', 'accept-for-good', 'quiet'),
      ),
  );
}

function changeText(change: Change): string {
  switch (change.kind) {
    case 'domain':
      return `the domain ${change.host}`;
    case 'grant':
      return `a grant of ${change.provider}`;
    case 'scope':
      return `more scopes of the grant ${change.grant}`;
  }
}

function diffLine(line: string): HTMLElement {
  const kind = line.startsWith('+') ? 'added' : line.startsWith('-') ? 'removed' : 'same';
  return h('span', { class: kind }, line);
}
