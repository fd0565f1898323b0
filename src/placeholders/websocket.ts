import { Transform } from 'node:stream';
import { type GuardedSecrets, matcherFor } from '../leak-guard/patterns.ts';
import { ServerFrames } from '../leak-guard/redactor.ts';
import { ClientFrames, type Replacement } from './stream.ts';

/** Transforms of WebSocket frames, one for each direction. */
export interface MessageRewriting {
  readonly toUpstream: Transform;
  readonly toClient: Transform;
}

/**
 * Puts a credential into the messages of a client, and takes it out of what comes back: a service that repeats messages
 * would hand it over.
 *
 * They fail with SidekeyError where something else than frames comes: `bad_request` of the client, `upstream_protocol` of
 * the upstream.
 */
export function messageRewriting(
  replacement: Replacement,
  secrets: GuardedSecrets | undefined,
  echoed: (times: number) => void,
): MessageRewriting {
  const frames = new ClientFrames(replacement);
  const matcher = secrets === undefined ? null : matcherFor(secrets);
  const shown = matcher === null ? null : new ServerFrames(matcher);
  let told = 0;
  const tell = (pieces: readonly Buffer[]) => {
    const { found = 0 } = shown ?? {};
    if (found > told) echoed(found - told);
    told = found;
    return pieces;
  };
  return {
    toUpstream: through((chunk) => frames.push(chunk)),
    toClient: through((chunk) => tell(shown?.push(chunk) ?? [chunk])),
  };
}

function through(pieces: (chunk: Buffer) => readonly Buffer[]): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        for (const piece of pieces(chunk)) this.push(piece);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
