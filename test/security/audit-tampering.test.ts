import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { headFile } from '../../src/audit/live-file.ts';
import {
  allLines,
  headsWritten,
  openLog,
  problems,
  rewrite,
  rewriteLines,
  verify,
  write,
  writtenLog,
} from '../unit/audit/log-for-test.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

describe('an attacker with write access to the audit files and without the key', () => {
  it('cannot change a line undetected', async () => {
    const file = await writtenLog(5);
    rewrite(file, (text) => text.replace('"path":"/3"', '"path":"/x"'));
    expect(await problems(file)).toEqual(['edited 3']);
  });

  it('cannot hide a line as a torn line', async () => {
    const file = await writtenLog(5);
    rewriteLines(file, (lines) => lines.with(2, (lines[2] ?? '').slice(0, 30)));
    expect(await problems(file)).toEqual(['missing 4']);
    const other = await writtenLog(5);
    rewriteLines(other, (lines) => lines.with(4, (lines[4] ?? '').slice(0, 120)));
    expect(await problems(other)).toEqual(['edited 5']);
  });

  it.each([
    ['the first', 0, 'missing 1'],
    ['one in the middle', 2, 'missing 3'],
    ['the last', 4, 'cut 4'],
  ])('cannot remove %s line undetected', async (_, index, problem) => {
    const file = await writtenLog(5);
    rewriteLines(file, (lines) => lines.toSpliced(index, 1));
    expect(await problems(file)).toEqual([problem]);
  });

  it('cannot move or repeat a line undetected', async () => {
    const moved = await writtenLog(5);
    rewriteLines(moved, ([one = '', two = '', ...rest]) => [two, one, ...rest]);
    expect(await problems(moved)).toEqual(['reordered 2']);
    const repeated = await writtenLog(5);
    rewriteLines(repeated, (lines) => [...lines, lines[1] ?? '']);
    expect(await problems(repeated)).toEqual(['repeated 6']);
  });

  it('cannot add a line, even with a hash of another key', async () => {
    const file = await writtenLog(2);
    const forged = fs
      .readFileSync(await writtenLog(3, { vault: vaultForTest('forger') }), 'utf8')
      .split('\n')[2];
    fs.appendFileSync(file, `${forged}\n{"event":"access"}\n`);
    expect(await problems(file)).toEqual(['foreign 3', 'foreign 4']);
  });

  it('cannot add an event without a hash as a torn line', async () => {
    const file = await writtenLog(2);
    const forged = { ...(await allLines(file))[1], seq: 77, node: 'forger/1', path: '/forged' };
    const { prev: _prev, hash: _hash, ...rest } = forged;
    fs.appendFileSync(file, `${JSON.stringify(rest)}\n`);
    expect((await allLines(file)).at(-1)).toMatchObject({ path: '/forged' });
    expect(await problems(file)).toEqual(['foreign 3']);
  });

  it('cannot remove a file or the whole log undetected', async () => {
    const file = await writtenLog(30, { maxBytes: 900 });
    fs.renameSync(`${file}.000002`, `${file}.away`);
    expect(await problems(file)).toEqual(['missing 1', 'missing 1']);
    fs.renameSync(`${file}.away`, `${file}.000002`);
    expect(await problems(file)).toEqual([]);
    fs.rmSync(`${file}.000001`);
    expect(await problems(file)).not.toEqual([]);
    const all = await writtenLog(3);
    fs.rmSync(all);
    expect(await problems(all)).toEqual(['cut 1']);
  });

  it('cannot make the head record match a truncated log', async () => {
    const file = await writtenLog(5);
    rewriteLines(file, (lines) => lines.slice(0, 3));
    const third = (await allLines(file)).at(-1)?.hash ?? '';
    rewrite(headFile(file), (text) =>
      text.replace('"seq":5', '"seq":3').replace(/"hash":"[\w-]+"/, `"hash":"${third}"`),
    );
    expect((await verify(file)).problems.map(({ kind }) => kind)).toEqual(['cut', 'edited']);
    fs.rmSync(headFile(file));
    expect(await problems(file)).toEqual(['cut 3']);
  });
});

describe('a writer that starts after the log was truncated', () => {
  it('does not hide the truncation', async () => {
    const file = await writtenLog(5);
    rewriteLines(file, (lines) => lines.slice(0, 3));
    await write(await openLog(file), 2, 6);
    expect((await verify(file)).problems).toEqual([
      {
        file,
        line: 4,
        kind: 'missing',
        sentence: 'Lines 4 to 5 (writer host/1) are missing before this line.',
      },
    ]);
  });

  it('does not hide the loss of the whole log', async () => {
    const file = await writtenLog(5);
    fs.rmSync(file);
    await write(await openLog(file), 1, 6);
    expect(await problems(file)).toEqual(['missing 1']);
  });

  it('leaves a permanent mark if the head record was truncated too', async () => {
    const file = await writtenLog(5);
    rewriteLines(file, (lines) => lines.slice(0, 3));
    fs.rmSync(headFile(file));
    await write(await openLog(file), 2, 6);
    expect(await problems(file)).toEqual(['cut 4']);
    expect((await allLines(file))[3]).toMatchObject({ event: 'audit.repaired', code: 'audit_broken' });
  });

  it('shows two histories if an older head record was restored', async () => {
    const file = await writtenLog(2);
    const older = fs.readFileSync(headFile(file));
    const log = await openLog(file);
    await write(log, 3, 3);
    await log.close();
    fs.writeFileSync(headFile(file), older);
    await write(await openLog(file), 1, 6);
    await headsWritten();
    expect(await problems(file)).toEqual(['repeated 3', 'repeated 6']);
  });
});
