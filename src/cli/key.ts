import { dirname } from 'node:path';
import { keySourceOf } from '../app/keys.ts';
import { isReference, parseSecretReference, readSecret } from '../config/secret-reference.ts';
import { SidekeyError } from '../lib/errors.ts';
import { parseKey } from '../vault/key-source.ts';
import { openKeySource } from '../vault/open.ts';
import { isRotating } from '../vault/ring.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { counted, isoOrNull, relativeTime } from './format.ts';

/** `sidekey key status`: the source, the keys, and the records that each of them seals. */
export async function keyStatus({ withView, output, now }: Context): Promise<void> {
  const { countSealed } = await import('../app/rotation.ts');
  await withView(async ({ vault, store, config: { key } }) => {
    const opened = await vault();
    const generations = opened?.generations ?? [];
    const counts = store === null ? new Map<string, number>() : await countSealed(store);
    const rotating = isRotating(generations);
    const keys = generations.map(({ keyId, since, retiredAt }, index) => ({
      key_id: keyId,
      state: index === 0 ? 'current' : retiredAt === null ? 'rotating' : 'retired',
      since: isoOrNull(since),
      retired_at: isoOrNull(retiredAt),
      records: counts.get(keyId) ?? 0,
    }));
    const at = now();
    const rows = generations.map(({ keyId, since, retiredAt }, index) => [
      keyId,
      keys[index]!.state,
      since === null ? 'the store began' : relativeTime(since, at),
      retiredAt === null ? '-' : relativeTime(retiredAt, at),
      String(keys[index]!.records),
    ]);
    const left = keys.slice(1).reduce((sum, { records }) => sum + records, 0);
    const rest = rotating
      ? [`The rotation is not finished: ${counted(left, 'record')} left.`, '  → sidekey key rotate']
      : [];
    output.result(
      { source: key.source, rotating, left, keys },
      keys.length === 0
        ? `There is no master key yet (source: ${key.source}).`
        : [
            `Source: ${key.source}`,
            table(output.display, ['KEY', 'STATE', 'SINCE', 'RETIRED', 'RECORDS'], rows),
            ...rest,
          ].join('\n'),
    );
  });
}

export interface RotateOptions {
  /** Reference to the new key, or to the new passphrase. */
  readonly new?: string;
}

/** `sidekey key rotate`: begins a rotation, or resumes one. */
export async function rotate(context: Context, options: RotateOptions): Promise<void> {
  const { rotateKey } = await import('../app/rotation.ts');
  const { withState, output, env, now } = context;
  await withState(async (state) => {
    const reference = options.new === undefined ? null : referenceOf(options.new);
    const { config } = state;
    const isPassphrase = config.key.source === 'passphrase';
    const next =
      reference === null || isPassphrase
        ? null
        : parseKey(await readSecret(reference, { env, cwd: dirname(config.file), where: '--new' }), '--new');
    const isPrompt = config.key.source === 'passphrase' && config.key.passphrase === null;
    if (isPrompt && reference === null && context.ask === null) {
      throw new SidekeyError('input_invalid', 'The passphrase of the new master key has to be typed.', {
        hint: 'run "sidekey key rotate" on a terminal, or name the passphrase: --new file:PATH',
      });
    }
    const source = () => openKeySource(keySourceOf(config, { env, nextPassphrase: reference ?? undefined }));
    const keys = isPassphrase ? { ...state.keys, source: source() } : state.keys;
    let told = 0;
    const onProgress = (done: number, of: number) => {
      const percent = of === 0 ? 100 : Math.floor((done / of) * 100);
      if (percent < told + 10 && done < of) return;
      told = percent;
      output.say(`Re-wrapped ${done} of ${counted(of, 'record')}.`);
    };
    const result = await rotateKey({ ...state, keys }, { next, now, onProgress });
    const { from, to, resumed, rewrapped, finished } = result;
    const begun = resumed ? 'Resumed the rotation of' : 'Rotated';
    const lines = [`${begun} the master key ${from} to ${to}: ${counted(rewrapped, 'record')} re-wrapped.`];
    if (finished)
      lines.push(
        `The key ${from} is retired: it opens nothing any more. Keep it only with backups from before.`,
      );
    else
      lines.push(
        `${state.keys.source.place} still gives ${from}, which opens the store until you finish:`,
        '  1. put the new key in its place, and restart what reads it',
        '  2. sidekey key rotate',
      );
    output.result(result, lines.join('\n'));
  });
}

function referenceOf(text: string) {
  const reference = parseSecretReference(text);
  if (isReference(reference)) return reference;
  throw new SidekeyError('input_invalid', `--new ${reference.problem}.`, {
    hint: 'name the place of the secret: --new env:NAME, file:PATH or command:…',
  });
}
