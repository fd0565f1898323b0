import { all, call, path, type View } from './api.ts';
import { action, facts, fill, h, table, time } from './dom.ts';
import { type Proposal, proposalArticle, waitingProposals } from './proposals.ts';

interface Waiting {
  readonly id: string;
  readonly agent: string | null;
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  readonly path: string;
  readonly query: string | null;
  readonly fields: readonly string[];
  readonly operation: string | null;
  readonly grant_name: string;
  readonly lease: string | null;
  readonly purpose: string | null;
  readonly reason: string | null;
  readonly rule: string;
  readonly rule_name: string | null;
  readonly expires_at: string;
}

interface Standing extends Pick<Waiting, 'id' | 'agent' | 'grant_name' | 'rule' | 'rule_name'> {
  readonly until: string | null;
  readonly by: string;
}

const everyMs = 2_000;

/** Requests and proposals that wait for a person. A visible page reloads the list every two seconds. */
export const approvals: View = async (main, me, signal) => {
  const mayAnswer = me.scopes.includes('approvals:write');
  let known = '';
  let proposals: readonly Proposal[] = [];
  const read = async () => {
    const [waiting, standing, proposed] = await Promise.all([
      all<Waiting>('/v2/approvals'),
      all<Standing>('/v2/approvals/standing'),
      waitingProposals(proposals),
    ]);
    // Redraws only on a change, because buttons must not move under the pointer.
    const ids = JSON.stringify([
      waiting.map(({ id }) => id),
      standing.map(({ id }) => id),
      proposed.map(({ id, answer }) => [id, answer]),
    ]);
    if (ids === known || signal.aborted) return;
    known = ids;
    proposals = proposed;
    draw(waiting, standing);
  };
  const answer = (id: string, body: unknown) => async () => {
    await call(path`POST /v2/approvals/${id}`, body);
    await read();
  };
  const draw = (waiting: readonly Waiting[], standing: readonly Standing[]) =>
    fill(
      main,
      h(
        'div',
        { 'aria-live': 'polite' },
        waiting.length + proposals.length === 0 ? h('p', { class: 'none' }, 'No request waits.') : null,
      ),
      ...waiting.map((each) =>
        h(
          'article',
          {},
          h(
            'h2',
            {},
            `${each.agent ?? 'A caller without a token'} asks${each.operation === null ? '' : ` to ${each.operation}`}`,
          ),
          h(
            'pre',
            {},
            h(
              'code',
              {},
              `${each.method} ${each.scheme}://${each.authority}${each.path}${each.query === null ? '' : `?${each.query}`}`,
            ),
          ),
          facts({
            'header fields': each.fields.length === 0 ? null : h('pre', {}, each.fields.join('\n')),
            reason: each.reason === null ? null : h('q', {}, each.reason),
            purpose: each.purpose === null ? null : h('q', {}, each.purpose),
            credential: each.grant_name,
            rule: each.rule_name ?? each.rule,
            'is refused': time(each.expires_at),
          }),
          mayAnswer &&
            h(
              'p',
              {},
              action('Yes, once', answer(each.id, { answer: 'once' }), 'good'),
              action('No', answer(each.id, { answer: 'deny' }), 'danger'),
              action('Yes, for 15 minutes', answer(each.id, { answer: 'for', span: '15m' }), 'quiet'),
              each.lease !== null &&
                action('Yes, for the lease', answer(each.id, { answer: 'lease' }), 'quiet'),
            ),
        ),
      ),
      ...proposals.map((each) => proposalArticle(each, me.scopes, read)),
      h('h2', {}, 'In force'),
      table(
        'Approvals in force',
        ['Agent', 'Credential', 'Rule', 'Ends', 'By', 'Actions'],
        standing.map((each) => [
          each.agent ?? 'any caller',
          each.grant_name,
          each.rule_name ?? each.rule,
          time(each.until, 'with the lease'),
          each.by,
          mayAnswer &&
            action(
              'End',
              async () => {
                await call(path`DELETE /v2/approvals/${each.id}`);
                await read();
              },
              'quiet',
            ),
        ]),
        'No approval is in force.',
      ),
    );
  await read();
  const timer = setInterval(() => {
    if (document.visibilityState === 'visible') void read().catch(() => undefined);
  }, everyMs);
  signal.addEventListener('abort', () => clearInterval(timer));
};
