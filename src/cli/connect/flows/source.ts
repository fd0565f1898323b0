import { homedir } from 'node:os';
import { commandParts, type Obtain } from '../request.ts';
import type { Context } from '../../context.ts';
import { readSpan } from '../../../operations/format.ts';
import { type SourceCredential, sourceForms } from '../../../domain/credential.ts';
import { fitted } from '../../../grants/source-values.ts';
import { absoluteSource, parseSource } from '../../../grants/sources/source.ts';
import { inputInvalid } from '../../../lib/errors.ts';

export interface SourceOptions {
  readonly sourceTtl?: string;
  readonly sourceForm?: string;
}

/** Returns the source that a person named. Paths become absolute. @throws SidekeyError `input_invalid` */
export function writtenSource(
  written: string,
  { sourceTtl, sourceForm }: SourceOptions,
  { env }: Pick<Context, 'env'>,
): SourceCredential {
  const from = absoluteSource(written, process.cwd(), env['HOME'] ?? homedir());
  parseSource(from, process.platform);
  const form = sourceForms.find((name) => name === sourceForm) ?? null;
  if (sourceForm !== undefined && form === null)
    throw inputInvalid('--source-form is no form of an answer.', `one of ${sourceForms.join(', ')}`);
  const ttlMs = sourceTtl === undefined ? null : readSpan('--source-ttl', sourceTtl);
  return { type: 'source', from, form, ttlMs };
}

/** `connect NAME --from SOURCE`: reads the source once, to verify its credential. Stores only the source. */
export const connectSource: Obtain = async (request) => {
  const { context, options, provider, existing, signal } = request;
  const credential = writtenSource(options.from ?? '', options, context);
  if (options.verify === false) return { credential, scopes: [] };
  const audience = existing?.sealed.audience ?? provider.audience;
  const question = { grant: '', revision: 0, credential, audience, isRefused: false, signal };
  const asking = commandParts(request).sources.ask(question);
  const value = await asking.finally(() => signal.throwIfAborted());
  return { credential, answer: fitted(value.credential, provider), scopes: [] };
};
