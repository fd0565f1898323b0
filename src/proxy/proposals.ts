import type { Identity } from '../agents/authentication.ts';
import { onceMs, type Proposal, statusOf } from '../domain/proposal.ts';
import { assertUnlisted, isConnected, proposalExample, readProposal } from '../agents/approvals/proposals.ts';
import { readBounded } from '../lib/body.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, hintText, remedy } from '../lib/hint.ts';
import { asTyped } from '../lib/command-name.ts';
import { ownHost } from './policy/authority.ts';
import { proposerOf } from './proposed.ts';
import type { Request } from './request.ts';
import type { ProxyServices } from './services.ts';
import { isInScope, scopeFor } from './target.ts';

/** The pages of `sidekey.internal` where an agent asks for more, and reads the answer. */

/** Maximum bytes of a proposal. */
const maxBytes = 4_096;

type Services = Pick<ProxyServices, 'proposals' | 'grants' | 'now'>;

/** Reports whether a path belongs to the pages of proposals. */
export function isProposalPath(path: string): boolean {
  return path === '/proposals' || path.startsWith('/proposals/');
}

/**
 * Answers a request for the pages of proposals. A caller sees only proposals of its own agent.
 * @throws SidekeyError `bad_request`, `body_too_large`, `not_found`, `method_not_allowed`; as `propose`
 */
export async function answerProposals(
  path: string,
  request: Request,
): Promise<{ readonly status: 200 | 202; readonly value: object }> {
  const { method, caller, services } = request;
  const id = path.slice('/proposals/'.length);
  if (method === 'POST' && path === '/proposals') {
    const proposal = await propose(request);
    return { status: 202, value: proposalPage(proposal, services.now()) };
  }
  if (method !== 'GET' && method !== 'HEAD') {
    const sentence = `${ownHost} accepts POST at /proposals alone, and GET and HEAD at its other pages.`;
    throw new SidekeyError('method_not_allowed', sentence, { hint: `POST http://${ownHost}/proposals` });
  }
  if (path === '/proposals') {
    const all = await services.proposals.list(caller.agent);
    return { status: 200, value: { proposals: all.map((each) => proposalPage(each, services.now())) } };
  }
  const found = await services.proposals.get(id, caller.agent);
  if (found === null) {
    throw new SidekeyError('not_found', 'You have made no such proposal, or it was removed after its end.', {
      hint: `GET http://${ownHost}/proposals lists yours`,
    });
  }
  return { status: 200, value: proposalPage(await connectedSince(found, caller, services), services.now()) };
}

async function propose({
  body,
  fieldFacts,
  inbound,
  reply,
  config: { policy, provider },
  caller,
  services,
}: Request): Promise<Proposal> {
  // A page in a browser behind the proxy cannot send this type to another origin unasked.
  if (!/^application\/json *(?:;|$)/i.test(fieldFacts.contentType ?? '')) {
    throw new SidekeyError('bad_request', 'A proposal has the Content-Type application/json.', {
      hint: `curl --json '${proposalExample}' http://${ownHost}/proposals`,
    });
  }
  if (body !== null) reply.continue();
  const bytes = await readBounded(body, maxBytes);
  if (bytes === null) {
    throw new SidekeyError('body_too_large', `A proposal has at most ${maxBytes} bytes.`, {
      hint: 'give a shorter reason',
    });
  }
  const { change, reason } = readProposal(bytes.toString('utf8'));
  assertUnlisted(policy, change);
  if (change.kind === 'grant' && provider(change.provider) === undefined) {
    throw new SidekeyError('bad_request', `There is no provider ${change.provider}.`, {
      hint: hintOf`ask a person for: ${remedy('provider.list')}`,
    });
  }
  if (await findConnected(change, caller, services)) {
    throw new SidekeyError('already_exists', 'You have a grant with these scopes already.', {
      hint: `GET http://${ownHost}/ shows what you may call`,
    });
  }
  const { client } = inbound;
  return services.proposals.propose({ ...proposerOf(caller), change, reason, client: client.address });
}

/** Returns the proposal, accepted if a grant that the caller can use was connected since. */
async function connectedSince(proposal: Proposal, caller: Identity, services: Services): Promise<Proposal> {
  const { change } = proposal;
  if (statusOf(proposal, services.now()) !== 'waiting') return proposal;
  const grant = await findConnected(change, caller, services);
  return grant ? services.proposals.connected(proposal, grant) : proposal;
}

async function findConnected(
  change: Proposal['change'],
  caller: Identity,
  { grants }: Services,
): Promise<string | null> {
  if (change.kind === 'domain') return null;
  const reference = change.kind === 'grant' ? change.provider : change.grant;
  const named = await grants.find(reference, scopeFor(reference, caller));
  return named.find((grant) => isInScope(grant, caller) && isConnected(change, [grant]))?.name ?? null;
}

function proposalPage(proposal: Proposal, now: number): object {
  const { id, expiresAt } = proposal;
  return {
    id,
    status: statusOf(proposal, now),
    expires_at: new Date(expiresAt).toISOString(),
    poll: `http://${ownHost}/proposals/${id}`,
    next: nextOf(proposal, now),
  };
}

/** Returns the next step for the agent, in one sentence. */
function nextOf(proposal: Proposal, now: number): string {
  const { id, answer } = proposal;
  switch (statusOf(proposal, now)) {
    case 'waiting':
      return answer === null
        ? `Ask the person to run: ${asTyped(hintText(remedy('proposal.get', { proposal: id })))}; then GET the poll address again.`
        : 'A person said yes and is about to connect the grant; GET the poll address again in a minute.';
    case 'declined':
      return 'A person said no: do without it, and do not ask in another way.';
    case 'expired':
      return 'Nobody answered in time; propose it again if you still need it.';
    case 'accepted':
      return acceptedText(proposal, now);
  }
}

function acceptedText({ answer, usedAt }: Proposal, now: number): string {
  if (answer?.outcome === 'once') {
    if (usedAt !== null)
      return 'The one request that it allowed was sent; propose it again if you need another.';
    return answer.at + onceMs > now
      ? 'Send the request within an hour of the answer: it is allowed once.'
      : 'Its hour is over; propose it again if you still need it.';
  }
  return answer?.outcome === 'lease'
    ? 'Send the request: it is allowed until your lease ends.'
    : 'Send the request.';
}
