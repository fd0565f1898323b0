import { storeName } from '../../src/config/store-place.ts';
import { relative } from 'node:path';
import { verifyAudit } from '../../src/audit/verify.ts';
import type { OAuth2Credential } from '../../src/domain/credential.ts';
import type { Grant } from '../../src/domain/grant.ts';
import type { Agent } from './agent.ts';
import { lastLine } from './audit-trail.ts';
import { callTickets, path, type Call } from './call.ts';
import { claim } from './claim.ts';
import type { Clock } from './clock.ts';
import { alice, grantByConsent } from './consent.ts';
import type { Screen } from './screen.ts';
import { searchFiles } from './search.ts';
import type { Stage } from './stage.ts';
import { auditField, receivedHead, shortened, ticketLines } from './wording.ts';

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
 * The story that the demo tells: a company's API, a proxy, a consent, a request that leaves without a credential and
 * arrives with one, and a refresh. Whatever is shown was checked first; `DemoFailure` where it is not so.
 */
export async function tellStory(parts: StoryParts): Promise<void> {
  introduce(parts);
  const grant = await consent(parts);
  const first = await ask(parts);
  const second = await refresh(parts, grant, first);
  await lookBack(parts, [first, second]);
}

function introduce({ stage, screen }: StoryParts): void {
  const { folder, helpdesk, proxy, proxyUrl } = stage;
  const { store, audit } = proxy.config();
  screen.title('Sidekey', 'An agent calls an API without a credential. The API receives one.');
  screen.step('A company API with an OAuth server of its own');
  screen.field('Acme Helpdesk', `${helpdesk.issuer}, on ${helpdesk.host}`);
  screen.step('Sidekey on its embedded defaults');
  screen.field('proxy', proxyUrl);
  screen.field('state', `${folder}/`);
  const here = (file: string): string => relative(folder, file);
  screen.field('', [storeName(store), audit.file, proxy.authority.certificateFile].map(here).join(', '));
}

async function consent({ stage, screen, clock }: StoryParts): Promise<Grant> {
  const grant = await grantByConsent(stage, clock);
  const credential = await credentialOf(stage, grant);
  const exchanges = stage.helpdesk.tokenRequestCount('authorization_code');
  claim(exchanges === 1, `The grant was to take one code exchange; the helpdesk saw ${exchanges}.`);
  claim(
    credential.accessToken !== null && credential.refreshToken !== null,
    'The exchange brought no tokens.',
  );
  claim(credential.expiresAt !== null, 'The exchange brought a token that says no end.');
  const lifetime = Math.round((credential.expiresAt - credential.obtainedAt) / 1_000);
  screen.step('Alice signs in and consents: authorization code with PKCE');
  screen.field('grant', `${grant.name}, of ${alice.user}: ${grant.scopes.join(' ')}`);
  screen.field('tokens', `an access token for ${lifetime} s and a refresh token, both sealed`);
  return grant;
}

async function ask(parts: StoryParts): Promise<Call> {
  const { stage, agent, screen, signal } = parts;
  const call = await callTickets(stage, agent, await lastLine(stage.proxy.config().audit.file), signal);
  const [settings, command] = [
    Object.entries(agent.environment),
    agent.commandFor(stage.helpdesk.issuer + path),
  ];
  screen.step('An agent asks for the tickets of its user');
  screen.lines(
    ...settings.map(
      ([name, value], index) => `${index === 0 ? screen.paint('dim', '$ ') : '  '}${name}=${value} \\`,
    ),
    `  ${screen.paint('bold', command)}`,
    '',
  );
  screen.columns(
    {
      heading: 'the agent sent',
      lines: [...call.sent, screen.paint('yellow', '(no Authorization)')],
    },
    {
      heading: 'the API received',
      lines: receivedHead(call).map((line) =>
        /^authorization:/i.test(line) ? screen.paint(['bold', 'green'], line) : line,
      ),
    },
  );
  screen.lines('');
  screen.field('came back', `200, ${call.tickets.length} tickets`, ...ticketLines(call.tickets));
  screen.field('audit', ...auditField(call));
  return call;
}

async function refresh(parts: StoryParts, grant: Grant, first: Call): Promise<Call> {
  const { stage, agent, screen, signal, laterTtl } = parts;
  const { helpdesk } = stage;
  helpdesk.setAccessTokenTtl(laterTtl);
  screen.step('The token expires, and the next request refreshes it');
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

  screen.field(
    'expired',
    `after ${Math.round(lifetimeOf(ended) / 1_000)} s. The agent sends the same again:`,
  );
  screen.field('token endpoint', '1 refresh; the used refresh token was replaced');
  const bearer = screen.paint(['bold', 'green'], `Authorization: Bearer ${shortened(call.token)}`);
  screen.field('API received', `${bearer} instead of ${shortened(first.token)}`);
  screen.field('came back', `200, ${call.tickets.length} tickets`);
  screen.field('audit', ...auditField(call));
  return call;
}

/** What nobody sees at a single request: the audit chain, and what lies on the disk. */
async function lookBack({ stage, screen }: StoryParts, calls: readonly Call[]): Promise<void> {
  const { proxy, folder } = stage;
  const { ok, lines } = await verifyAudit({ file: proxy.config().audit.file, vault: proxy.state.vault });
  claim(ok, 'The audit chain is broken.');
  const tokens = calls.map(({ token }) => token);
  const { files, holding } = await searchFiles(folder, tokens);
  claim(holding.length === 0, `A token lies in the clear in ${holding.join(', ')}.`);
  screen.field('checked', `audit chain of ${lines} lines intact; ${files} files, no token in clear`);
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
