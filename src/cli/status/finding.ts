import { failures, SidekeyError } from '../../errors.ts';

/** One thing that was looked at. */
export interface Finding {
  readonly name:
    | 'config'
    | 'proxy'
    | 'store'
    | 'key'
    | 'CA'
    | 'domains'
    | 'grants'
    | 'audit'
    | 'permissions'
    | 'clock'
    | 'upstreams';
  readonly ok: boolean;
  /** For people. */
  readonly text: string;
  /** For programs. */
  readonly facts: Readonly<Record<string, unknown>>;
  readonly needs: readonly Need[];
}

/** Something to be done by a person. */
export interface Need {
  readonly sentence: string;
  readonly hint: string | null;
}

/** What was found; `ok` where it needs nothing. */
export function finding(
  name: Finding['name'],
  text: string,
  facts: Finding['facts'],
  needs: readonly Need[] = [],
): Finding {
  return { name, ok: needs.length === 0, text, facts, needs };
}

/** What could not even be looked at. */
export function broken(name: Finding['name'], error: unknown): Finding {
  const known =
    error instanceof SidekeyError
      ? error
      : new SidekeyError('internal', error instanceof Error ? error.message : String(error));
  const need = { sentence: known.message, hint: known.hint ?? null };
  return finding(name, failures[known.code].title.toLowerCase(), { error: known.code }, [need]);
}

/** Looks at one thing for itself: what is broken there hides nothing else. */
export async function attempt(name: Finding['name'], looking: () => Promise<Finding>): Promise<Finding> {
  try {
    return await looking();
  } catch (error) {
    return broken(name, error);
  }
}
