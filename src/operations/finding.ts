import type { GrantState } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { failures } from '../lib/failures.ts';
import type { Reading } from './operation.ts';

/** Results of checks of the setup. */

export interface Finding {
  readonly name:
    | 'config'
    | 'proxy'
    | 'store'
    | 'key'
    | 'CA'
    | 'domains'
    | 'grants'
    | 'approvals'
    | 'proposals'
    | 'audit'
    | 'runs'
    | 'permissions'
    | 'clock'
    | 'upstreams';
  readonly ok: boolean;
  /** Text for people. */
  readonly text: string;
  /** Facts for `--json`. */
  readonly facts: Readonly<Record<string, unknown>>;
  readonly needs: readonly Need[];
}

/** A task for a person. */
export interface Need {
  readonly sentence: string;
  readonly hint: Hint | null;
}

/** Creates a finding; `ok` if it has no needs. */
export function finding(
  name: Finding['name'],
  text: string,
  facts: Finding['facts'],
  needs: readonly Need[] = [],
): Finding {
  return { name, ok: needs.length === 0, text, facts, needs };
}

/** Finding for a check that could not run. */
export function broken(name: Finding['name'], error: unknown): Finding {
  const failure =
    error instanceof SidekeyError
      ? error
      : new SidekeyError('internal', error instanceof Error ? error.message : String(error));
  const need = { sentence: failure.message, hint: failure.hint ?? null };
  return finding(name, failures[failure.code].title.toLowerCase(), { error: failure.code }, [need]);
}

/** Runs one check, so that its failure does not hide other findings. */
export async function attempt(name: Finding['name'], looking: () => Promise<Finding>): Promise<Finding> {
  try {
    return await looking();
  } catch (error) {
    return broken(name, error);
  }
}

/** Numbers of all grants by state. */
export type GrantCounts = Readonly<Record<GrantState | 'minted', number>>;

/** The open store, to look at. */
export type HealthView = Pick<Reading, 'config' | 'store' | 'vault' | 'registry'>;
