import { parseCallback } from '../../grants/oauth/authorization-code.ts';
import { beginPending, finishPending, stateOf } from '../../operations/connect/pending.ts';
import type { ConnectOptions } from '../../operations/connect/request.ts';
import { isoTime, relativeTime } from '../../operations/format.ts';
import type { Context } from '../context.ts';
import { metadataOf } from '../grant/set.ts';
import { changingParts } from '../operation-command.ts';
import { probeOf } from '../status/ask-proxy.ts';
import { timeoutOf } from './consent-timeout.ts';
import { report } from './report.ts';

const defaultTimeoutMs = 3_600_000;

/** `connect --print-url`: starts a consent that `connect --finish` completes. */
export async function printUrl(
  { output, now }: Context,
  request: Parameters<typeof beginPending>[0],
): Promise<void> {
  const { provider, name, user, options } = request;
  const at = now();
  const expiresAt = at + timeoutOf(options.timeout, defaultTimeoutMs);
  const { url, state, redirectUri } = await beginPending(request, expiresAt);
  output.result(
    {
      provider: provider.name,
      name,
      user,
      consent_url: url,
      state,
      redirect_uri: redirectUri,
      expires_at: isoTime(expiresAt),
    },
    url,
  );
  output.say(
    [
      `Open this address in a browser. The browser ends at ${redirectUri}?…, which may be an error page.`,
      `Copy the address of that page. ${relativeTime(expiresAt, at).replace(/^in /, 'Within ')}, run:`,
      `  → sidekey connect --finish 'ADDRESS'`,
      `  → sidekey connect --finish CODE --state ${state}   (with the code alone)`,
    ].join('\n'),
  );
}

/** `connect --finish`: completes a consent of `--print-url`, from this or another process. */
export async function finishConsent(
  context: Context,
  named: string | undefined,
  { finish = '', state: said, verify, meta = [] }: ConnectOptions,
): Promise<void> {
  const metadata = metadataOf(meta);
  const callback = parseCallback(finish === '-' ? await context.readInput() : finish);
  const answer = { callback, flowState: stateOf(callback, said), named };
  const { provider, connected } = await context.withState(async (state) => {
    const { unreadable } = probeOf(state.config);
    return finishPending(await changingParts(context, state), answer, { verify, metadata, unreadable });
  });
  await report(context, provider, connected);
}
