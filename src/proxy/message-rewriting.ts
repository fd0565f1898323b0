import { Transform } from 'node:stream';
import { automatonFor, type GuardedSecrets } from '../echo/guarded-secrets.ts';
import { Redactor } from '../echo/redactor.ts';
import { ClientFrames } from '../placeholder/frames.ts';
import type { Replacement } from '../placeholder/replacer.ts';

/** What the frames of a WebSocket go through, each way. */
export interface MessageRewriting {
  readonly toUpstream: Transform;
  readonly toClient: Transform;
}

/**
 * Puts a credential into the messages of a client, and takes it out of what comes back: a service that repeats messages
 * would hand it over. Frames of a server are not masked, and what is redacted is as long as it was, so they stay frames.
 *
 * `toUpstream` fails with SidekeyError `bad_request` where the client sends no frames.
 */
export function messageRewriting(
  replacement: Replacement,
  secrets: GuardedSecrets | undefined,
  echoed: (times: number) => void,
): MessageRewriting {
  const frames = new ClientFrames(replacement);
  const automaton = secrets === undefined ? null : automatonFor(secrets);
  const redactor = automaton === null ? null : new Redactor(automaton);
  return {
    toUpstream: through((chunk) => frames.push(chunk)),
    toClient: through(
      (chunk) => {
        const before = redactor?.found ?? 0;
        const pieces = redactor?.push(chunk) ?? [chunk];
        if (redactor !== null && redactor.found > before) echoed(redactor.found - before);
        return pieces;
      },
      () => redactor?.end() ?? [],
    ),
  };
}

function through(
  pieces: (chunk: Buffer) => readonly Buffer[],
  last: () => readonly Buffer[] = () => [],
): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        for (const piece of pieces(chunk)) this.push(piece);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
    flush(done) {
      for (const piece of last()) this.push(piece);
      done();
    },
  });
}
