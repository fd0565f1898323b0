import { describe, expect, it } from 'vitest';
import { type BackupHead, type BackupPart, readParts, writeLines } from '../../../src/store/backup.ts';

const head: BackupHead = {
  made: 1_700_000_000_000,
  version: '1.2.3',
  store: '/data/sidekey.db',
  schema: ['0001-first'],
  key: 'a2V5',
  ca: null,
};

async function* tables() {
  yield ['meta', [{ name: 'key_check', value: Buffer.from([0, 255, 10]) }]] as const;
  for (let page = 0; page < 3; page += 1) {
    yield [
      'agents',
      Array.from({ length: 150 }, (_, index) => ({ name: `${page}-${index}\n`, user: null })),
    ] as const;
  }
}

async function lines(): Promise<string[]> {
  const written: Buffer[] = [];
  for await (const line of writeLines(head, tables(), ({ digest }) => `mac of ${digest}`)) written.push(line);
  return Buffer.concat(written)
    .toString()
    .split(/(?<=\n)/);
}

/** Reads a text that arrives in pieces of 7 bytes. */
async function parts(text: string): Promise<BackupPart[]> {
  const bytes = Buffer.from(text);
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
  }
  const found: BackupPart[] = [];
  for await (const part of readParts(pieces(), 'x.age')) found.push(part);
  return found;
}

describe('the text of a backup', () => {
  it('is unchanged after writing and reading, in parts of at most 200 rows of one table', async () => {
    const [first, ...rest] = await parts((await lines()).join(''));
    expect(first).toEqual({ kind: 'head', head });
    const end = rest.pop();
    expect(rest.map((part) => part.kind === 'rows' && [part.table, part.rows.length])).toEqual([
      ['meta', 1],
      ['agents', 200],
      ['agents', 200],
      ['agents', 50],
    ]);
    expect(rest[0]).toMatchObject({ rows: [{ name: 'key_check', value: Buffer.from([0, 255, 10]) }] });
    expect(rest[3]).toMatchObject({ rows: expect.arrayContaining([{ name: '2-149\n', user: null }]) });
    if (end?.kind !== 'end') throw new Error('no end');
    expect(end).toMatchObject({ counts: { meta: 1, agents: 450 }, mac: `mac of ${end.digest}` });
  });

  it('is refused without its head or its end, with a malformed line, or with a line after the end', async () => {
    const whole = await lines();
    const without = (at: number) => whole.toSpliced(at, 1);
    const texts = [
      [],
      without(0),
      without(whole.length - 1),
      whole.toSpliced(5, 1, 'nonsense\n'),
      [...whole, whole[1]!],
      [...whole, '\n'],
      whole.toSpliced(0, 1, whole[0]!.replace('sidekey-backup/1', 'sidekey-backup/2')),
    ];
    for (const text of texts)
      await expect(parts(text.join(''))).rejects.toMatchObject({ code: 'record_tampered' });
  });

  it('has a different digest after a row was edited, removed or repeated', async () => {
    const whole = await lines();
    const edited = whole.toSpliced(3, 1, whole[3]!.replace('0-1', '9-9'));
    const digests = new Set<string>();
    for (const text of [whole, edited, whole.toSpliced(3, 1), whole.toSpliced(3, 0, whole[3]!)]) {
      const end = (await parts(text.join(''))).at(-1);
      if (end?.kind === 'end') digests.add(end.digest);
    }
    expect(digests.size).toBe(4);
  });
});
