import { createMarks } from '../../support/marks.ts';
import { imagesBelow, type ProcessImage } from './process-tree.ts';

/** The secret of a grant, and the looks for it: nobody but the proxy and the upstream may ever have it. */
export interface Secret {
  readonly token: string;
  /** `Authorization` of the user with the token for a password. */
  readonly basic: (username: string) => string;
  /** A value in the environment of every client: a search that does not find it is broken. */
  readonly known: string;
  /**
   * For upstreams, before they answer to a request that has the credential: resolves when the memory of all
   * that `sidekey run` has started was taken down, once for each kind of request. While nothing is watched,
   * at once.
   */
  readonly hold: (what?: string) => Promise<void>;
  /** Looks into what this process starts, whenever an upstream holds an answer back. */
  readonly watch: (pid: number) => Watch;
  /** The forms in which these bytes have a piece of the token. */
  readonly findIn: (bytes: Buffer) => readonly string[];
}

/** Looks that go on until the watched command ends. */
export interface Watch {
  /** Resolves with what was found in what was taken down. */
  readonly end: () => Promise<{
    /** Commands of the processes that were looked into. */
    readonly lookedInto: readonly string[];
    readonly leaks: readonly string[];
  }>;
}

/** A secret that is new, so that whatever has a piece of it has it from the test. */
export function createSecret(): Secret {
  const marks = createMarks();
  const token = marks.mark('the token');
  const known = createMarks().mark('what the client was given');
  let hold: Secret['hold'] = nothing;

  function leaksOf(images: readonly ProcessImage[]): readonly string[] {
    const leaks = images.flatMap(({ command, environment, memory }) =>
      Object.entries({
        environment: Buffer.from(environment),
        arguments: Buffer.from(command),
        memory,
      }).flatMap(([where, bytes]) => marks.findIn(bytes).map((found) => `${command}, ${where}: ${found}`)),
    );
    return images.some(({ memory }) => memory.includes(known))
      ? leaks
      : [...leaks, 'not even what the client was given was found in its memory'];
  }

  return {
    token,
    basic: (username) => `Basic ${Buffer.from(`${username}:${token}`).toString('base64')}`,
    known,
    hold: (what) => hold(what),
    watch(pid) {
      const looks = new Map<string, Promise<readonly ProcessImage[]>>();
      hold = async (what = '') => {
        const begun = looks.get(what) ?? imagesBelow(pid);
        looks.set(what, begun);
        await begun;
      };
      return {
        async end() {
          hold = nothing;
          const done = await Promise.all(looks.values());
          return {
            lookedInto: [...new Set(done.flat().map(({ command }) => command))],
            // Not before: clients do not wait for an answer for ever.
            leaks: done.flatMap(leaksOf),
          };
        },
      };
    },
    findIn: marks.findIn,
  };
}

async function nothing(): Promise<void> {}
