import { audited } from '../../audit/audited.ts';
import type { Context } from '../context.ts';
import { isoOrNull } from '../grant/clock-words.ts';
import { proxyUrl } from '../proxy-url.ts';
import { readEnd, readSpan } from '../span.ts';
import { pickAgent, unknownAgent } from './pick.ts';
import { newToken, usualTokenLabel } from './token.ts';

/** What a new token is told. */
export interface RotateOptions {
  readonly tokenLabel?: string;
  /** It takes over from every token, whatever its label. */
  readonly all?: boolean;
  readonly overlap?: string;
  readonly expires?: string;
}

/** Tokens that ended so long ago are forgotten. */
const forgetAfterMs = 90 * 86_400_000;

/**
 * `sidekey agent rotate`: a new token takes over from those of the same label, at once or after an overlap. With a label
 * that is new it stands beside the others.
 */
export async function rotateAgent(
  { withState, output, now }: Context,
  name: string,
  { tokenLabel, all = false, overlap, expires }: RotateOptions,
): Promise<void> {
  const at = now();
  const overlapMs = overlap === undefined ? 0 : readSpan('--overlap', overlap);
  const expiresAt = expires === undefined ? null : readEnd('--expires', expires, at);
  const label = tokenLabel ?? usualTokenLabel;
  const { token, ending, listen } = await withState(async ({ store, audit, config }) => {
    pickAgent(await store.agents.list(), name);
    const made = newToken(name, { label, expiresAt, at });
    const reason = `label ${label}${all ? ', instead of all' : ''}, overlap ${overlap ?? 'none'}`;
    const event = { event: 'agent.rotated', agent: name, reason } as const;
    const count = await audited(audit, event, async () => {
      const takeOver = { label: all ? null : label, at: at + overlapMs };
      const answer = await store.agentTokens.add(made.record, takeOver);
      if (answer === null) throw unknownAgent(name, []);
      return answer;
    });
    await store.agentTokens.removeEnded(at - forgetAfterMs);
    return { token: made.secret, ending: count, listen: config.proxy.listen };
  });
  const url = proxyUrl(listen, `${name}:${token}`);
  output.result(
    { name, token, proxy_url: url, label, expires_at: isoOrNull(expiresAt), replaced: ending },
    `HTTPS_PROXY=${url}`,
  );
  const old = ending === 1 ? 'The token before it' : `The ${ending} tokens before it`;
  output.say(
    [
      `The new token of ${name} is in that line, and is shown this once.`,
      ending === 0
        ? 'It took over from none; the others stay as they are.'
        : `${old} ${overlap === undefined ? 'ended' : `will end in ${overlap}`}.`,
    ].join('\n'),
  );
}
