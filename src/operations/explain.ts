import { z } from 'zod';
import { schemeOf } from '../proxy/schemes/placement.ts';
import { type DryRun, Explanation, type View } from './dry-run.ts';

import { grantOf } from '../store/grants.ts';
import { draftConfig, draftText } from './config.ts';
import { findLease } from './find.ts';
import { hintAnswer, named, remedies } from './members.ts';
import { reading } from './operation.ts';
import { once } from './outgoing-request.ts';
import { presentedOf, type Question, questionInput, questionOf } from './dry-run-request.ts';

/** Explanations of hypothetical requests. */
export const explainRequest = reading({
  id: 'domain.explain',
  summary: 'Show what would happen to a request; send nothing.',
  scope: 'access:read',
  input: questionInput.extend({ text: draftText }),
  machineOnly: ['bytes'],
  output: named('Explanation', {
    method: z.string(),
    url: z.string(),
    agent: z.string().nullable(),
    lease: z.string().nullable(),
    allowed: z.boolean(),
    held: z.boolean().describe('True: a person is asked.'),
    outcome: z.string(),
    code: z.string().optional(),
    status: z.int().optional(),
    message: z.string().optional(),
    hint: z.string().optional(),
    remedies,
    steps: z.array(z.looseObject({ step: z.string(), ok: z.boolean(), text: z.string() })),
  }),
  check: (input, at) => void questionOf(input, at),
  async run(parts, input, at) {
    const question = questionOf(input, at);
    const { text } = input;
    const view = { ...parts, config: await draftConfig(parts, text), isDraft: text !== undefined };
    return { ...question, url: withoutSecrets(question.url), ...(await dryRun(view, question)) };
  },
  answer: ({ method, url, agent, lease, refusal, held, outcome, advice, steps }) => ({
    method,
    url,
    agent,
    lease,
    allowed: refusal === null && !held,
    held,
    outcome,
    ...(refusal === null
      ? advice && hintAnswer(advice)
      : {
          code: refusal.code,
          status: refusal.status,
          message: refusal.message,
          ...hintAnswer(refusal.hint),
        }),
    steps: steps.map((step) => ({ ...step })),
  }),
});

/**
 * Runs the stages of the proxy on a hypothetical request. Its services only read: they count no use, refresh
 * no token, request no approval and send nothing.
 *
 * @throws errors of the store and the vault; SidekeyError as `pickLease`
 */
export async function dryRun(view: View, question: Question): Promise<DryRun> {
  const { store } = view;
  const lease = question.lease === null ? null : await findLease(store, question.lease);
  const presented = await presentedOf(question, lease, view);
  const grants = ((await store?.grants.some(lease?.grants ?? [])) ?? []).map(grantOf);
  const asked = { lease, presented, grants };
  const first = new Explanation(view, question, asked);
  const run = await first.run(question.inbound);
  // A credential in the body needs a body. Without a given one, uses the shortest.
  const { placement } = first;
  const sample =
    question.inbound.body === null && placement !== null && placement.kind !== 'own'
      ? schemeOf(placement).sample?.(placement)
      : undefined;
  if (sample === undefined || sample.body === null) return run;
  const { head } = question.inbound;
  const fields = [...head.fields, ...sample.fields, 'Content-Length', String(sample.body.length)];
  const inbound = { ...question.inbound, head: { ...head, fields }, body: once(sample.body) };
  return new Explanation(view, question, asked).run(inbound);
}

/** Removes user information and query, which may contain passwords and keys. */
function withoutSecrets(url: string): string {
  return (url.split(/[?#]/, 1)[0] ?? '').replace(/\/\/[^/]*@/, '//');
}
