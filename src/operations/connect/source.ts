import { homedir } from 'node:os';
import { sourceForms } from '../../domain/credential.ts';
import type { Obtained } from '../../grants/keep.ts';
import { fitted } from '../../grants/source-values.ts';
import { absoluteSource, parseSource } from '../../grants/sources/source.ts';
import { inputInvalid } from '../../lib/errors.ts';
import { readSpan } from '../format.ts';
import type { ConnectRequest } from './request.ts';

/**
 * `connect NAME --from SOURCE`: reads the source once, to verify its credential. Stores only the source, with
 * absolute paths.
 *
 * @throws SidekeyError `input_invalid`; errors of the source; the reason of the signal
 */
export async function fromSource(request: ConnectRequest): Promise<Obtained> {
  const { options, provider, existing, signal, state, parts } = request;
  const { from: written = '', sourceForm, sourceTtl, verify } = options;
  const from = absoluteSource(written, process.cwd(), state.env['HOME'] ?? homedir());
  parseSource(from, process.platform);
  const form = sourceForms.find((name) => name === sourceForm) ?? null;
  if (sourceForm !== undefined && form === null)
    throw inputInvalid('--source-form is no form of an answer.', `one of ${sourceForms.join(', ')}`);
  const ttlMs = sourceTtl === undefined ? null : readSpan('--source-ttl', sourceTtl);
  const credential = { type: 'source', from, form, ttlMs } as const;
  if (verify === false) return { credential, scopes: [] };
  const audience = existing?.sealed.audience ?? provider.audience;
  const question = { grant: '', revision: 0, credential, audience, isRefused: false, signal };
  const value = await parts.sources.ask(question).finally(() => signal.throwIfAborted());
  return { credential, answer: fitted(value.credential, provider), scopes: [] };
}
