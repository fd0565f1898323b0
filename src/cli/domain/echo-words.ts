import type { EchoGuard } from '../../policy/echo-guard.ts';

/** What becomes of responses that show the credential: behind the action of an entry, and as a sentence of its own. */
export const echoWords: Readonly<Record<EchoGuard, { readonly inMap: string; readonly inFull: string }>> = {
  auto: { inMap: '', inFull: 'taken out of error pages and echo endpoints' },
  redact: { inMap: ', echoes redacted', inFull: 'taken out of every response' },
  refuse: { inMap: ', echoes refused', inFull: 'a response that has one is refused' },
  off: { inMap: ', echoes not looked for', inFull: 'not looked for' },
};
