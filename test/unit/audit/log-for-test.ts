import fs from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { AuditEvent, AuditLine } from '../../../src/domain/event.ts';
import { logIdOf, readHeads } from '../../../src/audit/live-file.ts';
import { openAuditLog, type AuditLogOptions, type OpenAuditLog } from '../../../src/audit/log.ts';
import { queryAudit } from '../../../src/audit/query.ts';
import { type HeadStore, readStoredHeads, type StoredHeads } from '../../../src/audit/sealed-heads.ts';
import { verifyAudit, type Verification } from '../../../src/audit/verify.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { vaultForTest } from './vault-for-test.ts';

/** The path of a log that does not exist yet, in a private folder of its own. */
export async function newLogFile(): Promise<string> {
  return join(await tempFolder(), 'audit.jsonl');
}

/** A log on `file`, closed when the test ends. It checks its path before each batch. */
export async function openLog(file: string, options: Partial<AuditLogOptions> = {}): Promise<OpenAuditLog> {
  const log = await openAuditLog({
    file,
    maxBytes: 1e9,
    vault: vaultForTest(),
    now: () => Date.UTC(2026, 0, 2, 3, 4, 5),
    node: 'host',
    isFileCheckDue: () => true,
    ...options,
  });
  onTestFinished(() => log.close().catch(() => undefined));
  return log;
}

export function access(path: string): AuditEvent {
  return {
    event: 'access',
    exchange: 'x1',
    agent: 'ci',
    method: 'GET',
    scheme: 'https',
    host: 'api.example.com',
    port: 443,
    path,
    outcome: 'allow',
  };
}

/** Writes `count` events, one batch each, with the paths `/1`, `/2` … */
export async function write(log: OpenAuditLog, count: number, from = 1): Promise<void> {
  for (let n = from; n < from + count; n += 1) await log.append(access(`/${n}`));
}

/** A log of `count` lines, written and closed. */
export async function writtenLog(count: number, options: Partial<AuditLogOptions> = {}): Promise<string> {
  const file = await newLogFile();
  const log = await openLog(file, options);
  await write(log, count);
  await log.close();
  return file;
}

export function verify(file: string): Promise<Verification> {
  return verifyAudit({ file, vault: vaultForTest() });
}

/** The heads that a store has of a log of this host. */
export function storedHeads(store: HeadStore, file: string): Promise<StoredHeads> {
  const vault = vaultForTest();
  return readStoredHeads(store, logIdOf(file, 'host', readHeads(file, vault)), vault);
}

/** Waits until the head records have the last lines. */
export function headsWritten(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 10));
}

/** All that is wrong with a log, as `kind line`. */
export async function problems(file: string): Promise<string[]> {
  return (await verify(file)).problems.map(({ kind, line }) => `${kind} ${line}`);
}

export async function allLines(file: string): Promise<AuditLine[]> {
  const lines: AuditLine[] = [];
  for await (const line of queryAudit({ file, filter: {} })) lines.push(line);
  return lines;
}

export async function paths(file: string): Promise<(string | undefined)[]> {
  return (await allLines(file)).flatMap((line) => line.path ?? []);
}

/** The log as a writer that was killed leaves it: a copy of its files, without its locks. */
export async function asKilled(file: string): Promise<string> {
  const copy = await newLogFile();
  const folder = join(file, '..');
  for (const name of fs.readdirSync(folder)) {
    if (/\.(lock|lock-journal)$/.test(name)) continue;
    fs.copyFileSync(join(folder, name), join(copy, '..', name));
  }
  return copy;
}

/** Changes the raw text of a file. */
export function rewrite(file: string, change: (text: string) => string): void {
  fs.writeFileSync(file, change(fs.readFileSync(file, 'utf8')));
}

/** Changes the lines of a file. */
export function rewriteLines(file: string, change: (lines: string[]) => string[]): void {
  rewrite(file, (text) =>
    change(text.trimEnd().split('\n'))
      .map((line) => `${line}\n`)
      .join(''),
  );
}
