import { parentNotes } from '../../clients/parent-notes.ts';
import { withoutProxy } from '../../clients/no-proxy.ts';
import { renderVariables, shellOf } from '../../clients/render.ts';
import { writeTrustFiles } from '../../clients/trust-files.ts';
import { clientVariables } from '../../clients/variables.ts';
import { withheld } from '../../clients/withheld.ts';
import { credentialVariables } from '../../config/credential-variables.ts';
import { environmentReferences } from '../../config/environment-references.ts';
import { SidekeyError } from '../../errors.ts';
import { openCa } from '../ca/open.ts';
import { placeholderCodes } from '../../placeholder-codes.ts';
import { anyone, leaseHolder } from '../../placeholder/codes.ts';
import { mintFor } from '../../placeholder/of-grant.ts';
import type { Context } from '../context.ts';
import { offeredFirst } from '../grant/offered.ts';
import { makeLease, type MadeLease } from '../lease/make.ts';
import { leaseClockText } from '../lease/words.ts';
import { cappedText } from '../lease/ttl.ts';
import { proxyUrl } from '../proxy-url.ts';
import { readSpan } from '../span.ts';
import { proxyPlace } from './proxy-place.ts';
import { reachableProviders } from './reachable.ts';
import { readShell, shellNotes } from './shell.ts';
import { trustFolder } from './trust-folder.ts';

/** Which variables, and in whose words. */
export interface EnvOptions {
  readonly shell?: string;
  readonly proxy?: string;
  readonly agent?: string;
  readonly grant?: readonly string[];
  readonly ttl?: string;
  readonly keep?: readonly string[];
}

/**
 * `sidekey env`: what a program needs to go through a proxy that runs. With `--agent` the token of a new lease stands in
 * it, on standard output: that is what it is for.
 */
export async function printEnvironment(context: Context, options: EnvOptions): Promise<void> {
  const { withView, output, env: parent, now } = context;
  const at = now();
  const shell = options.shell === undefined ? shellOf(parent, process.platform) : readShell(options.shell);
  const ttlMs = options.ttl === undefined ? null : readSpan('--ttl', options.ttl);
  const { agent } = options;
  const idle = (['grant', 'ttl'] as const).find((name) => agent === undefined && options[name] !== undefined);
  if (idle !== undefined) {
    throw new SidekeyError('input_invalid', `--${idle} says nothing without --agent.`, {
      hint: 'sidekey env --agent NAME --grant GRANT',
    });
  }
  const { config, grants, authority, vault } = await withView(async (view) => ({
    config: view.config,
    grants: await view.grants(),
    authority: await openCa(view, now),
    vault: await view.vault(),
  }));
  const place = proxyPlace(config.proxy.listen, options.proxy);
  if (agent === undefined && config.proxy.agents === 'required') {
    throw new SidekeyError('input_invalid', 'The proxy serves nobody without a token (proxy.agents).', {
      hint: 'sidekey env --agent NAME --grant GRANT',
    });
  }
  // Before the lease: what cannot be written is found while there is nothing to be taken back.
  const folder = trustFolder(config.ca.directory, parent);
  const trust = await writeTrustFiles(folder, { authorityPem: authority.certificatePem, parent });
  const made = agent === undefined ? null : await leaseFor(context, { ...options, agent }, { ttlMs, at });
  const holder = made === null ? anyone : leaseHolder(made.lease.id);
  const url = proxyUrl(place, made === null ? undefined : `${made.lease.agent}:${made.secret}`);
  const variables = clientVariables({
    parent,
    proxy: { url, ...place },
    trust,
    noProxy: withoutProxy(config.domains, place),
  });
  const reached = offeredFirst(config.domains, made?.grants ?? grants);
  const credentials = withheld({
    parent,
    providers: credentialVariables(config.providers),
    reachable: reachableProviders(config.domains, reached),
    references: environmentReferences(config),
    // Without a vault there is no grant either.
    mint: vault === null ? undefined : mintFor(holder, reached, placeholderCodes(vault)),
    ...(options.keep === undefined ? {} : { keep: options.keep }),
  });
  const change = { set: { ...credentials.set, ...variables }, remove: credentials.remove };
  const chained = config.upstream.proxy !== null;
  const notes = [
    ...trust.notes,
    ...parentNotes({ parent, proxy: place, domains: config.domains, chained }),
    ...credentials.notes,
    ...shellNotes(shell, change.remove, folder),
  ];
  if (output.json) {
    output.result({ ...change, lease: made?.lease.id ?? null, notes }, '');
    return;
  }
  output.bytes(Buffer.from(renderVariables(shell, change)));
  const words = [...(made === null ? [] : leaseWords(made, options.ttl, at)), ...notes];
  if (words.length > 0) output.say(words.join('\n'));
}

function leaseFor(
  { withState }: Context,
  { agent, grant }: EnvOptions & { readonly agent: string },
  { ttlMs, at }: { readonly ttlMs: number | null; readonly at: number },
): Promise<MadeLease> {
  const order = { agent, grants: grant ?? null, purpose: 'sidekey env', ttlMs, idleMs: null, maxUses: null };
  return withState((state) => makeLease(state, order, at));
}

function leaseWords({ lease, ttl }: MadeLease, asked: string | undefined, at: number): string[] {
  const capped = cappedText(ttl, asked);
  return [
    `The token of the lease ${lease.id} stands in these lines, and is shown this once.`,
    leaseClockText(lease, at),
    ...(capped === null ? [] : [capped]),
  ];
}
