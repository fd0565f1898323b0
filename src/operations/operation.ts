import type { z } from 'zod';
import type { Config } from '../config/config.ts';
import type { OpenAuditLog } from '../audit/log.ts';
import type { Scope } from '../domain/scopes.ts';
import type { RefreshParts } from '../grants/refresh.ts';
import type { Registry } from '../grants/registry.ts';
import type { Sources } from '../grants/sources/ask.ts';
import type { Store } from '../store/store.ts';
import type { OpenVault } from '../store/vault/open.ts';
import type { Vault } from '../store/vault/vault.ts';
import type { Caller } from './caller.ts';
import type { ProbePrograms } from './program-probe.ts';
import type { ProxyProbe } from './proxy-probe.ts';

/** Things that Sidekey does for people and programs: each is one value, and all front ends follow from it. */

/** The circumstances of a call. */
export interface Call {
  readonly caller: Caller;
  /** Address of the pages, without a trailing slash; null: there are none, or their port is not known. */
  readonly pages: string | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  /** Gives `use` a `fetch` behind the dial guard. @throws SidekeyError `config_invalid`: bad trust anchors */
  readonly withFetch: <T>(use: (fetch: typeof globalThis.fetch) => Promise<T>) => Promise<T>;
  /**
   * Does a long step. A person at a terminal sees its name, the share that is done, from 0 to 1, and the pace
   * if the work gives one.
   */
  readonly during: <T>(
    step: string,
    work: (onShare: (share: number, pace?: string) => void) => Promise<T>,
  ) => Promise<T>;
  /** Calls `stop` if a person interrupts the command. Returns the function that ends this. */
  readonly onInterrupt: (stop: () => void) => () => void;
  /** Aborts when a client of the API leaves; absent: at the command line. */
  readonly signal?: AbortSignal;
}

/** The config, for an operation that also works while the store cannot be opened. */
interface ReadingConfig extends Call {
  readonly config: Config;
}

/** Parts of Sidekey that an operation reads. */
export interface Reading extends ReadingConfig {
  /** Null: nothing was stored yet. */
  readonly store: Store | null;
  /**
   * Opens the vault, to read sealed parts. Null: nothing was ever sealed.
   * @throws SidekeyError `key_invalid`, `key_mismatch`, `permissions_unsafe`, `secret_missing`
   */
  readonly vault: () => Promise<Vault | null>;
  /** Opens the state to change it, if only some inputs lead to a change. Creates what does not exist. */
  readonly withState: <T>(use: (opened: Opened) => Promise<T>) => Promise<T>;
  /** Opens the vault by the key alone: seals of earlier keys are unknown. Rejections: as `vault`. */
  readonly vaultWithoutStore: () => Promise<Vault>;
  /** Opens the grants with their sealed parts. Null and rejections: as `vault`. */
  readonly registry: () => Promise<Registry | null>;
  readonly proxy: ProxyProbe;
  readonly probePrograms: ProbePrograms;
}

/** Parts of Sidekey that an operation changes. */
export interface Changing extends Opened, Call {
  /** Address of the proxy that this process serves; null: it serves none. */
  readonly listening: Promise<{ readonly host: string; readonly port: number }> | null;
  /** Source and key ring of the vault. */
  readonly keys: OpenVault;
  /** Called during a rotation with the number of records that are done, and of all. */
  readonly onProgress: (done: number, of: number) => void;
  /** Returns the parts of a refresh that uses this guarded `fetch`. */
  readonly renewal: (fetch: typeof globalThis.fetch) => RenewalParts;
}

/** Parts of a refresh, and the sources of credentials that are not stored. */
export interface RenewalParts extends RefreshParts {
  readonly sources: Sources;
}

/** The open state, without the circumstances of a call. */
export interface Opened {
  readonly config: Config;
  readonly store: Store;
  readonly vault: Vault;
  readonly grants: Registry;
  readonly audit: OpenAuditLog;
}

interface Definition<Parts, Input extends z.ZodObject, Output extends z.ZodType, Result> {
  /** Noun and verb: `lease.create`. */
  readonly id: `${string}.${string}`;
  /** One sentence, for programmers. */
  readonly summary: string;
  /** Scope that a caller of the API needs. */
  readonly scope: Scope;
  readonly input: Input;
  /** Members of the input that only a person at the machine may give: the API does not have them. */
  readonly machineOnly?: readonly string[];
  /** Shape of the answer, for programs. Times are ISO 8601, spans are seconds. */
  readonly output: Output;
  /** Refuses input that no state makes valid, before anything is opened or created. @throws SidekeyError */
  readonly check?: (input: z.output<Input>, at: number) => void;
  /** Refuses input that the config file rules out, before the state is opened. @throws SidekeyError */
  readonly checkConfig?: (input: z.output<Input>, config: Config, at: number) => Promise<void>;
  /**
   * Does the work.
   *
   * @param at milliseconds since the epoch
   * @throws SidekeyError
   */
  readonly run: (parts: Parts, input: z.output<Input>, at: number) => Promise<Result>;
  /** For a list whose input has `pageInput`: returns the cursor of the next page; null: the last one. */
  readonly next?: (result: Result) => string | null;
  /** Returns the answer for programs; texts for people are made of the result itself. */
  readonly answer: (result: Result, at: number) => z.input<Output>;
}

/** One action. A reading one creates nothing, and works before anything was stored. */
export type Operation<
  Input extends z.ZodObject = z.ZodObject,
  Output extends z.ZodType = z.ZodType,
  Result = never,
> =
  | (Definition<ReadingConfig, Input, Output, Result> & { readonly effect: 'read_config' })
  | (Definition<Reading, Input, Output, Result> & { readonly effect: 'read' })
  | (Definition<Changing, Input, Output, Result> & { readonly effect: 'change' });

/** Types an operation that reads only the config. */
export function readingConfig<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  definition: Definition<ReadingConfig, Input, Output, Result>,
): Operation<Input, Output, Result> {
  return { ...definition, effect: 'read_config' };
}

/** Types an operation that reads. */
export function reading<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  definition: Definition<Reading, Input, Output, Result>,
): Operation<Input, Output, Result> {
  return { ...definition, effect: 'read' };
}

/** Types an operation that changes something. */
export function changing<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  definition: Definition<Changing, Input, Output, Result>,
): Operation<Input, Output, Result> {
  return { ...definition, effect: 'change' };
}
