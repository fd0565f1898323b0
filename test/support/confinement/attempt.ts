/** An attempt of a confined command to do what it may not. */

/** Facts of the machine outside, for an attempt. All paths are absolute. */
export interface Target {
  readonly home: string;
  readonly project: string;
  /** A folder of the same user outside of home and project. */
  readonly outside: string;
  /** A folder of another program below `/tmp`. */
  readonly temp: string;
  /** Folder with the config, the store, the key, the CA and the audit log of Sidekey. */
  readonly sidekey: string;
  /** File with a client secret, which the config names. */
  readonly clientSecret: string;
  /** Ports of this machine that servers listen on. */
  readonly tcpPort: number;
  readonly udpPort: number;
  /** Abstract Unix socket that a server listens on, without the leading NUL. */
  readonly abstractName: string;
  /** Process that started the command, and one beside it. */
  readonly outerPid: number;
  readonly victimPid: number;
}

/** Does something outside of the run: the answer of the process that started the command. */
export type Outer = (request: string) => Promise<string>;

export interface Attempt {
  /** The attempted action, as the rest of "a confined command cannot …". */
  readonly name: string;
  /** Returns if the attempt succeeded, and throws otherwise. */
  readonly run: (target: Target, outer: Outer) => unknown;
  /**
   * Condition for success without confinement, which shows that a refusal means something: always, or as
   * root. It is not tried if it depends on a feature of the kernel, or would do real harm.
   */
  readonly unconfined: 'succeeds' | 'as root' | 'is not tried';
  /** The reason why the attempt succeeds in a mode with only one mechanism. */
  readonly passes?: Readonly<Partial<Record<'landlock' | 'bubblewrap', string>>>;
  /** The reason why the attempt is harmless in a namespace of the run: only Landlock refuses it. */
  readonly harmless?: string;
}

/** Content of every file that a confined command must not read. */
export const secret = 'secret-of-the-person-4711';

/** @throws Error if the text does not contain the secret */
export function assertSecret(text: string): void {
  if (!text.includes(secret)) throw new Error('no secret');
}

/** Empty lines that attempts append to files, harmless in every one of them. */
export const appended = '\n\n\n';
