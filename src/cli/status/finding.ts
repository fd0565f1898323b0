import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { reportContext, reportTarget } from '../../app/state.ts';
import type { Config } from '../../config/config.ts';
import type { UnreadableReference } from '../../grants/references.ts';
import { failures } from '../../lib/failures.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Vault } from '../../store/vault/vault.ts';
import { reachable } from '../../operations/format.ts';

export interface Finding {
  readonly name:
    | 'config'
    | 'proxy'
    | 'store'
    | 'key'
    | 'CA'
    | 'domains'
    | 'grants'
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
  readonly hint: string | null;
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
  const known =
    error instanceof SidekeyError
      ? error
      : new SidekeyError('internal', error instanceof Error ? error.message : String(error));
  const need = { sentence: known.message, hint: known.hint ?? null };
  return finding(name, failures[known.code].title.toLowerCase(), { error: known.code }, [need]);
}

/** Runs one check, so that its failure does not hide other findings. */
export async function attempt(name: Finding['name'], looking: () => Promise<Finding>): Promise<Finding> {
  try {
    return await looking();
  } catch (error) {
    return broken(name, error);
  }
}

/** Response at the address in the config. */
type Health =
  /** `instance`: see `instanceOf`. `sealed`: the report, if requested. */
  | { readonly kind: 'serving'; readonly instance: string; readonly sealed: string | undefined }
  /** Nothing listens there, or the response is late. */
  | { readonly kind: 'silent'; readonly why: string }
  /** Another program responds. */
  | { readonly kind: 'stranger' }
  /** The port is chosen at start, and unknown here. */
  | { readonly kind: 'unknown' };

const timeoutMs = 1_000;

/** Returns the references that the running proxy cannot read; none without such a proxy. Never rejects. */
export async function askUnreadable(
  { proxy: { listen } }: Pick<Config, 'proxy'>,
  vault: Vault,
): Promise<readonly UnreadableReference[]> {
  const health = await askHealth(listen, reportTarget(vault));
  if (health.kind !== 'serving') return [];
  try {
    await vault.refresh();
    const report = vault.open(reportContext, Buffer.from(health.sealed ?? '', 'base64'));
    return JSON.parse(report.toString('utf8')) as readonly UnreadableReference[];
  } catch {
    // Another Sidekey, with another key.
    return [];
  }
}

/** Sends `GET /healthz`. Never rejects. */
export async function askHealth(
  { host, port }: Config['proxy']['listen'],
  path = '/healthz',
): Promise<Health> {
  if (port === 0) return { kind: 'unknown' };
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const request = get({ host: reachable(host), port, path, agent: false, signal });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    for await (const piece of response.setEncoding('utf8')) {
      text += piece;
      if (text.length > 1_000_000) break;
    }
    const [, instance, sealed] =
      /^\{"status":"ok","instance":"([0-9a-f]{16})"(?:,"sealed":"([\w+/=]+)")?\}$/.exec(text.trim()) ?? [];
    return instance === undefined ? { kind: 'stranger' } : { kind: 'serving', instance, sealed };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { kind: 'silent', why: signal.aborted ? `no answer within ${timeoutMs} ms` : (code ?? message) };
  }
}
