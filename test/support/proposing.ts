/** A proxy that allows no host, and agents that propose one with curl. */
import { type Ran, runHere } from './command-line.ts';
import { curl, type CurlAnswer } from './curl.ts';
import { hashToken } from '../../src/agents/authentication.ts';
import { addAgent, leaseRecord } from './rights.ts';
import { type SidekeyOptions, startSidekey, type TestSidekey } from './sidekey.ts';
import { startUpstream, type Upstream } from './upstream.ts';

/** User names and tokens of callers: an agent, the same agent under a lease, another agent. */
export const callers = {
  ci: 'ci:token-of-ci-0123456789',
  leased: 'ci:token-of-a-lease-0123456789',
  other: 'other:token-of-other-0123456789',
} as const;

export type CallerName = keyof typeof callers | 'local';

/** An answer of the proposal pages. */
export interface ProposalAnswer extends Pick<CurlAnswer, 'status'> {
  // Tests look at members of any answer.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

export interface Proposing {
  readonly sidekey: TestSidekey;
  readonly upstream: Upstream;
  readonly leaseId: string;
  /** Requests that the upstream received, with their `Authorization`. */
  readonly seen: readonly string[];
  /** POSTs a proposal. */
  readonly propose: (who: CallerName, proposal: unknown, ...options: string[]) => Promise<ProposalAnswer>;
  readonly poll: (who: CallerName, id: string) => Promise<ProposalAnswer>;
  /** Proposes the host of the upstream. */
  readonly proposeHost: (who: CallerName, grant?: string) => Promise<string>;
  /** Sends a GET to the upstream. */
  readonly get: (who: CallerName) => Promise<CurlAnswer>;
  /** Runs a command with the config of the proxy. */
  readonly command: (...args: string[]) => Promise<Ran>;
}

async function asked(...args: string[]): Promise<ProposalAnswer> {
  const { status, body } = await curl(...args);
  return { status, body: JSON.parse(body) as unknown };
}

/** Starts the proxy with a grant `acme` for the upstream. */
export async function startProposing(options: SidekeyOptions = {}): Promise<Proposing> {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(`${request.url} ${request.headers.authorization ?? '-'}`);
    response.end('done');
  });
  const sidekey = await startSidekey(options);
  await sidekey.grant([upstream.authority]);
  const { store } = sidekey.proxy.state;
  for (const name of ['ci', 'other'] as const) await addAgent(store, name, callers[name].split(':')[1]!);
  const tokenHash = hashToken(callers.leased.split(':')[1]!);
  const now = (options.now ?? Date.now)();
  const lease = leaseRecord({
    agent: 'ci',
    tokenHash,
    grants: null,
    createdAt: now,
    expiresAt: now + 3_600_000,
  });
  await store.leases.insert(lease);

  const through = (who: CallerName) => [
    '-x',
    who === 'local' ? sidekey.url : sidekey.url.replace('//', `//${callers[who]}@`),
  ];
  const own = 'http://sidekey.internal/proposals';
  const propose: Proposing['propose'] = (who, proposal, ...more) =>
    asked(
      ...through(who),
      '-H',
      'Content-Type: application/json',
      '-d',
      typeof proposal === 'string' ? proposal : JSON.stringify(proposal),
      ...more,
      own,
    );
  return {
    sidekey,
    upstream,
    leaseId: lease.id,
    seen,
    propose,
    poll: (who, id) => asked(...through(who), `${own}/${id}`),
    async proposeHost(who, grant) {
      const host = upstream.authority;
      const domain = grant === undefined ? { host, action: 'tunnel' } : { host, action: 'grant', grant };
      const { status, body } = await propose(who, { domain, reason: 'for ticket 7' });
      if (status !== 202) throw new Error(JSON.stringify(body));
      return String(body.id);
    },
    get: (who) => curl(...through(who), '--cacert', sidekey.caFile, '--proxy-insecure', `${upstream.url}/x`),
    command: (...args) => runHere([...args, '--config', sidekey.configFile], process.cwd(), {}),
  };
}
