import { verifyAudit } from '../../src/audit/verify.ts';
import type { OAuth2Credential } from '../../src/domain/credential.ts';
import type { Grant } from '../../src/domain/grant.ts';
import { everything } from '../../src/domain/lease.ts';
import { leaseForRequest } from '../../src/operations/request-rights.ts';
import type { Agent } from './agent.ts';
import { lastLine } from './audit-trail.ts';
import { answerTo, callTickets, path, type Call } from './call.ts';
import { claim } from './claim.ts';
import type { Clock } from './clock.ts';
import { mirrorOf } from './config-text.ts';
import { alice, grantByConsent } from './consent.ts';
import type { Screen } from './screen.ts';
import { searchFiles } from './search.ts';
import type { Stage } from './stage.ts';
import { receivedHead, shortened } from './wording.ts';

export interface StoryParts {
  readonly stage: Stage;
  readonly agent: Agent;
  readonly screen: Screen;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Seconds that access tokens live from the refresh on. */
  readonly laterTtl: number;
}

/**
 * The story that the demo tells: the five promises of the README, each with what shows it. Whatever is shown
 * was checked first; `DemoFailure` where it is not so.
 */
export async function tellStory(parts: StoryParts): Promise<void> {
  const grant = await consent(parts);
  const first = await ask(parts);
  await askElsewhere(parts);
  await lookAtAudit(parts, first);
  const second = await refresh(parts, grant, first);
  await endLease(parts);
  await searchDisk(parts, [first, second]);
}

async function consent({ stage, screen, clock }: StoryParts): Promise<Grant> {
  const { folder, helpdesk, proxyUrl } = stage;
  screen.title('Sidekey', 'An agent calls an API without a credential. The API receives one.');
  const grant = await grantByConsent(stage, clock);
  const credential = await credentialOf(stage, grant);
  const exchanges = helpdesk.tokenRequestCount('authorization_code');
  claim(exchanges === 1, `The grant was to take one code exchange; the helpdesk saw ${exchanges}.`);
  claim(
    credential.accessToken !== null && credential.refreshToken !== null,
    'The exchange brought no tokens.',
  );
  claim(credential.expiresAt !== null, 'The exchange brought a token that says no end.');
  screen.field('a company API', `${helpdesk.issuer}; ${alice.user} consented to the grant ${grant.name}`);
  screen.field('the proxy', `${proxyUrl}, state in ${folder}/`);
  return grant;
}

async function ask(parts: StoryParts): Promise<Call> {
  const { stage, agent, screen, signal } = parts;
  const call = await callTickets(stage, agent, await lastLine(stage.proxy.config().audit.file), signal);
  const settings = Object.entries(agent.environment).map(([name, value]) => `${name}=${value} `);
  screen.step('The agent holds no credential, and cannot read one');
  screen.lines(
    `${screen.paint('dim', '$ ')}${settings.join('')}\\`,
    `  ${screen.paint('bold', agent.commandFor(stage.helpdesk.issuer + path))}`,
  );
  const [line = '', ...fields] = receivedHead(call);
  const authorization = fields.find((field) => /^authorization:/i.test(field)) ?? '';
  screen.columns(
    { heading: 'the agent sent', lines: [call.sent[0] ?? '', screen.paint('yellow', '(no Authorization)')] },
    { heading: 'the API received', lines: [line, screen.paint(['bold', 'green'], authorization)] },
  );
  screen.field('came back', `200, ${call.tickets.length} tickets`);
  return call;
}

async function askElsewhere({ stage, screen, signal }: StoryParts): Promise<void> {
  const answer = await answerTo(stage, { url: mirrorOf(stage.helpdesk.issuer) + path, userInfo: '' }, signal);
  claim(
    answer === '403 policy_violation',
    `Another host was to get no credential; the answer was ${answer}.`,
  );
  screen.step('A credential reaches only its own hosts');
  screen.field('another host', `${answer}, though the domain map gives it this grant`);
}

async function lookAtAudit({ stage, screen }: StoryParts, { access, outcome }: Call): Promise<void> {
  const { proxy } = stage;
  const { ok, lines } = await verifyAudit({ file: proxy.config().audit.file, vault: proxy.state.vault });
  claim(ok, 'The audit chain is broken.');
  claim(access.seq < outcome.seq, 'The audit file tells of the outcome before the access.');
  screen.step('The audit record comes first');
  screen.field('access', `grant acme, credential ${access.credential}`);
  screen.field('outcome', `${outcome.status}, ${outcome.bytes_out} bytes, ${outcome.duration_ms} ms`);
  screen.field('verified', `audit chain of ${lines} lines intact`);
}

async function refresh(parts: StoryParts, grant: Grant, first: Call): Promise<Call> {
  const { stage, agent, screen, signal, laterTtl } = parts;
  const { helpdesk } = stage;
  helpdesk.setAccessTokenTtl(laterTtl);
  screen.step('Access ends on time');
  const ended = await waitForEnd(parts, grant);
  const [requests, line] = [
    helpdesk.tokenRequestCount('refresh_token'),
    await lastLine(stage.proxy.config().audit.file),
  ];
  const call = await callTickets(stage, agent, line, signal);

  const refreshes = helpdesk.tokenRequestCount('refresh_token') - requests;
  claim(
    refreshes === 1,
    `The request was to refresh the token once; the helpdesk saw ${refreshes} refreshes.`,
  );
  claim(call.token !== first.token, 'The API received the token that had expired.');
  claim(call.access.credential !== first.access.credential, 'The audit file tells of the old credential.');
  const refreshed = call.audit.some((entry) => entry.event === 'grant.refreshed' && entry.grant === grant.id);
  claim(refreshed, 'The audit file does not tell of the refresh.');
  const fresh = await credentialOf(stage, grant);
  claim(fresh.accessToken === call.token, 'The store does not hold the token that was used.');
  claim(
    fresh.refreshToken !== ended.refreshToken,
    'The store still holds the refresh token that was used up.',
  );
  const bearer = screen.paint(['bold', 'green'], `Bearer ${shortened(call.token)}`);
  const seconds = Math.round(lifetimeOf(ended) / 1_000);
  screen.field(
    'token',
    `expired after ${seconds} s, 1 refresh: ${bearer} instead of ${shortened(first.token)}`,
  );
  return call;
}

/** An agent asks under a lease, before and after its revocation. */
async function endLease({ stage, screen, clock, signal }: StoryParts): Promise<void> {
  const { proxy, helpdesk } = stage;
  const at = clock.now();
  const agent = { name: 'robot', user: null, labels: [], disabledAt: null, createdAt: at };
  await proxy.state.store.agents.insert(agent, { tokens: [], bindings: [everything] });
  const lease = await leaseForRequest({ ...proxy.state, config: proxy.config() }, agent.name, clock.now);
  const asked = { url: helpdesk.issuer + path, userInfo: lease.secret };
  const before = await answerTo(stage, asked, signal);
  claim(before === '200', `A request under a lease was to get 200; it got ${before}.`);
  await lease.revoke();
  const after = await answerTo(stage, asked, signal);
  claim(after === '403 lease_expired', `A request after a lease was to be refused; it got ${after}.`);
  screen.field('lease', `${before} under a lease; once it is revoked, ${after}`);
}

async function searchDisk({ stage, screen }: StoryParts, calls: readonly Call[]): Promise<void> {
  const tokens = calls.map(({ token }) => token);
  const { files, holding } = await searchFiles(stage.folder, tokens);
  claim(holding.length === 0, `A token lies in the clear in ${holding.join(', ')}.`);
  screen.step('Secrets stay secret');
  screen.field('on the disk', `${files} files, no token in clear`);
}

/** Waits until the stored token has ended, whichever it is by then, and answers it. */
async function waitForEnd(
  { stage, screen, clock, signal }: StoryParts,
  grant: Grant,
): Promise<OAuth2Credential> {
  for (;;) {
    const credential = await credentialOf(stage, grant);
    const left = (credential.expiresAt ?? 0) - clock.now();
    if (left <= 0) return credential;
    const seconds = Math.ceil(left / 1_000);
    screen.passing(`the access token ends in ${seconds} s`);
    await clock.pause(left - (seconds - 1) * 1_000, signal);
  }
}

async function credentialOf({ proxy }: Stage, { id }: Grant): Promise<OAuth2Credential> {
  const credential = (await proxy.state.grants.read(id))?.sealed.credential;
  claim(credential?.type === 'oauth2', 'The store does not hold the grant.');
  return credential;
}

function lifetimeOf({ expiresAt, obtainedAt }: OAuth2Credential): number {
  return (expiresAt ?? obtainedAt) - obtainedAt;
}
