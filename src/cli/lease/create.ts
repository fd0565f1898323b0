import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { proxyUrl } from '../proxy-url.ts';
import { readSpan } from '../span.ts';
import { visible } from '../table.ts';
import { makeLease } from './make.ts';
import { whatEndsBefore } from './outlives.ts';
import { cappedText } from './ttl.ts';
import { leaseClockText, leaseJson } from './words.ts';

/** What a lease is to be. */
export interface CreateOptions {
  readonly agent: string;
  readonly grant: readonly string[];
  readonly purpose: string;
  readonly ttl?: string;
  readonly idle?: string;
  readonly maxUses?: string;
}

const longestPurpose = 200;

/** `sidekey lease create`: the one time that its token is shown. */
export async function createLease(
  { withState, output, now }: Context,
  options: CreateOptions,
): Promise<void> {
  const at = now();
  const order = {
    agent: options.agent,
    grants: options.grant,
    purpose: readPurpose(options.purpose),
    ttlMs: options.ttl === undefined ? null : readSpan('--ttl', options.ttl),
    idleMs: options.idle === undefined ? null : readSpan('--idle', options.idle),
    maxUses: options.maxUses === undefined ? null : readUses('--max-uses', options.maxUses),
  };
  const { lease, secret, grants, policies, ttl, listen } = await withState(async (state) => ({
    ...(await makeLease(state, order, at)),
    listen: state.config.proxy.listen,
  }));
  const warnings = whatEndsBefore(lease.expiresAt, grants, policies, at);
  const url = proxyUrl(listen, `${lease.agent}:${secret}`);
  output.result(
    { ...leaseJson(lease, at), token: secret, proxy_url: url, capped_by: ttl.cappedBy, warnings },
    `HTTPS_PROXY=${url}`,
  );
  const capped = cappedText(ttl, options.ttl);
  output.say(
    [
      `The token of the lease ${lease.id} is in that line, and is shown this once.`,
      leaseClockText(lease, at),
      ...(capped === null ? [] : [capped]),
      ...warnings,
    ].join('\n'),
  );
}

/** @throws SidekeyError `input_invalid` */
export function readUses(option: string, text: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new SidekeyError('input_invalid', `${option} is no number of requests.`, {
    hint: `a whole number from 1 on: ${option} 10`,
  });
}

function readPurpose(text: string): string {
  const purpose = text.trim();
  if (purpose !== '' && purpose.length <= longestPurpose && visible(purpose) === purpose) return purpose;
  throw new SidekeyError('input_invalid', 'The purpose is empty, too long, or has control characters.', {
    hint: `say in up to ${longestPurpose} characters what the lease is for: --purpose "nightly report"`,
  });
}
