import { errorPhrase } from '../../error-facts.ts';
import { SidekeyError } from '../../errors.ts';
import type { Config } from '../../config/config.ts';
import type { Grant } from '../../grants/grant.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import type { Exit } from '../../upstream/exit.ts';
import { offeredBy } from '../grant/offered.ts';
import { finding, type Finding, type Need } from '../status/finding.ts';

/** What an upstream said. */
export interface Answered {
  readonly authority: string;
  readonly status: number | null;
  /** What its clock shows, in milliseconds since the epoch, and when that was here; null: it does not say. */
  readonly clock: { readonly there: number; readonly here: number } | null;
  readonly error: SidekeyError | null;
}

/** So many at a time, so long each. */
const width = 8;
const patienceMs = 10_000;

/**
 * Asks each host of the map that has a whole name for its first page, without a credential, on the way that requests
 * take: looked up, checked, dialed, verified. Those that are to see a grant's certificate are left out: without it many
 * hang up, and no request is there that may show it.
 */
export async function askUpstreams(
  { domains }: Config,
  grants: readonly Grant[],
  exit: Pick<Exit, 'fetch'>,
  now: () => number,
): Promise<readonly Answered[]> {
  const hosts = domains
    .filter(({ pattern, action }) => !pattern.wildcard && action.kind !== 'deny')
    .filter((domain) => !offeredBy(domain, grants).some(({ type }) => type === 'client_certificate'))
    .map(({ pattern }): Authority => ({ scheme: 'https', host: pattern.host, port: pattern.port ?? 443 }));
  const answers: Answered[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < hosts.length; at = next++) answers[at] = await ask(hosts[at]!, exit, now);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return answers;
}

async function ask(authority: Authority, exit: Pick<Exit, 'fetch'>, now: () => number): Promise<Answered> {
  const text = authorityText(authority);
  try {
    const response = await exit.fetch(`https://${text}/`, {
      method: 'HEAD',
      redirect: 'manual',
      signal: AbortSignal.timeout(patienceMs),
    });
    await response.body?.cancel();
    const there = Date.parse(response.headers.get('date') ?? '');
    const clock = Number.isNaN(there) ? null : { there, here: now() };
    return { authority: text, status: response.status, clock, error: null };
  } catch (error) {
    return { authority: text, status: null, clock: null, error: known(error, text) };
  }
}

function known(error: unknown, authority: string): SidekeyError {
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    if (each instanceof SidekeyError) return each;
    if (each.name === 'TimeoutError')
      return new SidekeyError(
        'upstream_timeout',
        `${authority} did not answer within ${patienceMs / 1_000} s.`,
      );
  }
  return new SidekeyError('upstream_unreachable', `${authority} did not answer: ${errorPhrase(error)}.`);
}

/** Whether the hosts of the map can be looked up, reached and verified. */
export function upstreamsFound(answers: readonly Answered[]): Finding {
  const failed = answers.filter(({ error }) => error !== null);
  const count = `${answers.length - failed.length} of ${answers.length}`;
  return finding(
    'upstreams',
    answers.length === 0 ? 'no host of the map can be asked without a credential' : `${count} answer`,
    {
      hosts: Object.fromEntries(
        answers.map(({ authority, status, error }) => [authority, { status, error: error?.code ?? null }]),
      ),
    },
    failed.map(({ error }) => needOf(error!)),
  );
}

function needOf({ message, hint, code }: SidekeyError): Need {
  if (hint !== undefined) return { sentence: message, hint };
  return {
    sentence: message,
    hint:
      code === 'upstream_tls'
        ? 'name the root that its certificate is from under upstream.ca in the config file'
        : 'check the network and the name; behind a company’s proxy, set upstream.proxy in the config file',
  };
}
