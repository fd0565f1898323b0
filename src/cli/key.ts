import { dirname } from 'node:path';
import { keySourceOf } from '../app/keys.ts';
import { readSecret, referenceOption } from '../config/secret-reference.ts';
import { SidekeyError } from '../lib/errors.ts';
import { parseKey } from '../store/vault/key-source.ts';
import { openKeySource } from '../store/vault/open.ts';
import { isRotating } from '../store/vault/ring.ts';
import type { NodeRecord } from '../store/store.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { counted, isoOrNull, lastUse, relativeTime } from '../operations/format.ts';
import { nodeAnswer } from '../operations/node.ts';

/** `sidekey key status`: the source, the keys, and the number of records that each key seals. */
export async function keyStatus({ withView, output, now }: Context): Promise<void> {
  const [{ countSealed }, { nodesBehind }] = await Promise.all([
    import('../app/rotation.ts'),
    import('../app/nodes.ts'),
  ]);
  await withView(async ({ vault, store, config: { key } }) => {
    const opened = await vault();
    const generations = opened?.generations ?? [];
    const counts = store === null ? new Map<string, number>() : await countSealed(store);
    const rotating = isRotating(generations);
    const nodes = store !== null && opened !== null && rotating ? await nodesBehind(store, opened.keyId) : [];
    const at = now();
    const keys = generations.map(({ keyId, since, retiredAt }, index) => ({
      key_id: keyId,
      state: index === 0 ? 'current' : retiredAt === null ? 'rotating' : 'retired',
      since: isoOrNull(since),
      retired_at: isoOrNull(retiredAt),
      records: counts.get(keyId) ?? 0,
    }));
    const rows = keys.map(({ key_id: id, state, since, retired_at: retired, records }) => [
      id,
      state,
      since === null ? 'the store began' : relativeTime(Date.parse(since), at),
      retired === null ? '-' : relativeTime(Date.parse(retired), at),
      String(records),
    ]);
    const left = keys.slice(1).reduce((sum, { records }) => sum + records, 0);
    const rest = rotating
      ? [
          `The rotation is not finished: ${counted(left, 'record')} left.`,
          ...behindText(nodes, generations[1]?.keyId, at),
          '  → sidekey key rotate',
        ]
      : [];
    output.result(
      { source: key.source, rotating, left, keys, behind: nodes.map((node) => nodeAnswer(node, at)) },
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
  /** Retires the old key, even if other nodes still have it. */
  readonly retire?: boolean;
}

/** `sidekey key rotate`: begins a rotation, or resumes one. */
export async function rotate(context: Context, options: RotateOptions): Promise<void> {
  const { rotateKey } = await import('../app/rotation.ts');
  const { withState, output, env, now } = context;
  await withState(async (state) => {
    const reference = options.new === undefined ? null : referenceOption('--new', options.new);
    const { config } = state;
    const isPassphrase = config.key.source === 'passphrase';
    const isPrompt = config.key.source === 'passphrase' && config.key.passphrase === undefined;
    const next =
      reference === null || isPassphrase
        ? null
        : parseKey(await readSecret(reference, { env, cwd: dirname(config.file), where: '--new' }), '--new');
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
    const result = await rotateKey(
      { ...state, keys },
      { next, now, retire: options.retire === true, onProgress },
    );
    const { from, to, resumed, rewrapped, finished, behind } = result;
    const begun = resumed ? 'Resumed the rotation of' : 'Rotated';
    const lines = [`${begun} the master key ${from} to ${to}: ${counted(rewrapped, 'record')} re-wrapped.`];
    const members = state.keys.nodes().members.map(({ name }) => name);
    if (members.length > 0)
      lines.push(`It is sealed for the nodes with a key of their own: ${members.join(', ')}.`);
    const isPlaced = keys.source.replace !== null || keys.sourceKeyId === to;
    if (finished)
      lines.push(
        `The key ${from} is retired: it opens nothing any more. Keep it only with backups from before.`,
      );
    else if (!isPlaced)
      lines.push(
        `${state.keys.source.place} still gives ${from}, which opens the store until you finish:`,
        '  1. put the new key in its place, and restart what reads it',
        '  2. sidekey key rotate',
      );
    if (finished && behind.length > 0)
      lines.push(`Give the new key to ${namesOf(behind, now())}: without it they cannot start.`);
    else lines.push(...behindText(behind, from, now()));
    output.result({ ...result, behind: behind.map((node) => nodeAnswer(node, now())) }, lines.join('\n'));
  });
}

/** Lists the nodes whose source still has the earlier key, with commands to proceed. */
function behindText(nodes: readonly NodeRecord[], key = '', at: number): readonly string[] {
  if (nodes.length === 0) return [];
  return [
    `The key ${key} opens the store until it is replaced at the key source of ${namesOf(nodes, at)}.`,
    '  → start these nodes: they do it themselves. The node that began the rotation does it by: sidekey key rotate',
    '  → with env and command: put the new key there yourself, and restart. The last node finishes the rotation',
    '  → sidekey key rotate --retire (without them: they cannot start until you give them the new key)',
  ];
}

function namesOf(nodes: readonly NodeRecord[], at: number): string {
  return nodes
    .map(({ name, source, awayMs }) => `${name} (${source}, last seen ${lastUse(at - awayMs, at)})`)
    .join(', ');
}
