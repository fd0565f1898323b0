import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { AuditLine } from '../../../src/domain/event.ts';
import type { AuditFilter } from '../../../src/audit/filter.ts';
import { queryAudit, tailAudit } from '../../../src/audit/query.ts';
import { access, newLogFile, openLog, write, writtenLog } from './log-for-test.ts';

async function collect(lines: AsyncIterable<AuditLine>): Promise<(string | undefined)[]> {
  const found: (string | undefined)[] = [];
  for await (const line of lines) if (line.path !== undefined) found.push(line.path);
  return found;
}

/** The paths of what fits, of three different lines in three files. */
async function ask(filter: AuditFilter): Promise<(string | undefined)[]> {
  const file = await newLogFile();
  let time = Date.UTC(2026, 0, 1);
  const log = await openLog(file, { now: () => time, maxBytes: 420 });
  await log.append({ ...access('/1'), grant: 'g1', status: 200 });
  time += 1_000;
  await log.append({ ...access('/2'), event: 'denied', code: 'rule_denied', host: 'other.example' });
  time += 1_000;
  await log.append({ ...access('/3'), event: 'grant.revoked', agent: 'laptop', port: 8443 });
  return collect(queryAudit({ file, filter }));
}

describe('the tail of the log', () => {
  it('has the last lines, oldest first', async () => {
    const file = await writtenLog(10);
    expect(await collect(tailAudit({ file, lines: 3 }))).toEqual(['/8', '/9', '/10']);
    expect(await collect(tailAudit({ file, lines: 100 }))).toHaveLength(10);
    expect(await collect(tailAudit({ file, lines: 0 }))).toEqual([]);
  });

  it('includes rotated files', async () => {
    const file = await writtenLog(30, { maxBytes: 600 });
    const last = await collect(tailAudit({ file, lines: 20 }));
    expect(last.length).toBeGreaterThan(10);
    expect(last).toEqual(Array.from({ length: last.length }, (_, index) => `/${31 - last.length + index}`));
  });

  it('adds the fields of the access record to an outcome, even if the access is before the last lines', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await log.append({ ...access('/long'), exchange: 'long', agent: 'bot', reason: 'a ticket' });
    await write(log, 8);
    const stop = new AbortController();
    const tail = tailAudit({ file, lines: 1, follow: true, signal: stop.signal });
    expect((await tail.next()).value).toMatchObject({ path: '/8' });
    await log.append({ event: 'outcome', exchange: 'long', outcome: 'ok', status: 200 });
    const end = {
      event: 'outcome',
      exchange: 'long',
      agent: 'bot',
      path: '/long',
      reason: 'a ticket',
      outcome: 'ok',
      status: 200,
    };
    expect((await tail.next()).value).toMatchObject(end);
    stop.abort();
    await tail.next();
    for await (const line of tailAudit({ file, lines: 1 })) expect(line).toMatchObject(end);
  });

  it('in brief has one line for each finished exchange, and no housekeeping events', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const ended = { event: 'outcome', exchange: 'a', outcome: 'ok', status: 200 } as const;
    await log.append({ event: 'proxy.started' });
    await log.append({ event: 'lease.created', lease: 'x', reason: 'run: curl (for work)' });
    await log.append({ event: 'lease.created', lease: 'y', reason: 'nightly' });
    await log.append({ ...access('/ended'), exchange: 'a' });
    await log.append({ ...access('/open'), exchange: 'b' });
    await log.append(ended);
    await log.append({ event: 'lease.revoked', lease: 'x', reason: 'run: curl' });
    await log.append({ event: 'proxy.stopped' });
    const briefly = async (lines: number) => {
      const found: string[] = [];
      for await (const { event, path = '' } of tailAudit({ file, lines, brief: true }))
        found.push(`${event} ${path}`.trim());
      return found;
    };
    expect(await briefly(20)).toEqual(['lease.created', 'access /open', 'outcome /ended']);
    expect(await briefly(2)).toEqual(['access /open', 'outcome /ended']);

    const stop = new AbortController();
    const tail = tailAudit({ file, lines: 0, brief: true, follow: true, signal: stop.signal });
    const next = tail.next();
    await log.append({ event: 'proxy.started' });
    await log.append({ ...access('/new'), exchange: 'c' });
    await log.append({ ...ended, exchange: 'c' });
    expect((await next).value).toMatchObject({ event: 'outcome', path: '/new' });
    stop.abort();
    await tail.next();
  });

  it('skips torn lines, and is empty without a log', async () => {
    const file = await writtenLog(2);
    fs.appendFileSync(file, '{"v":1,"seq":3,\n\nnonsense\n{"v":1,"seq":3,"ti');
    expect(await collect(tailAudit({ file, lines: 2 }))).toEqual(['/1', '/2']);
    expect(await collect(tailAudit({ file: await newLogFile(), lines: 2 }))).toEqual([]);
  });

  it('follows across rotations, each line once, until it is aborted', async () => {
    const file = await newLogFile();
    const log = await openLog(file, { maxBytes: 900 });
    await write(log, 5);
    const stop = new AbortController();
    const seen: (string | undefined)[] = [];
    let written = 5;
    for await (const { path } of tailAudit({ file, lines: 50, follow: true, signal: stop.signal })) {
      if (path === undefined) continue;
      seen.push(path);
      if (path === '/25') stop.abort();
      else if (path === `/${written}`) await write(log, 5, (written += 5) - 4);
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => `/${index + 1}`));
  });

  it('waits for a log that does not exist yet', async () => {
    const file = await newLogFile();
    const stop = new AbortController();
    const lines = tailAudit({ file, lines: 1, follow: true, signal: stop.signal });
    const first = lines.next();
    const log = await openLog(file);
    await write(log, 1);
    expect((await first).value).toMatchObject({ path: '/1' });
    stop.abort();
    expect(await lines.next()).toEqual({ done: true, value: undefined });
  });

  it('waits for the newline of a line that is being written', async () => {
    const file = await writtenLog(2);
    const text = fs.readFileSync(file, 'utf8');
    fs.truncateSync(file, text.length - 20);
    const stop = new AbortController();
    const lines = tailAudit({ file, lines: 5, follow: true, signal: stop.signal });
    expect((await lines.next()).value).toMatchObject({ path: '/1' });
    const second = lines.next();
    fs.appendFileSync(file, text.slice(-20));
    expect((await second).value).toMatchObject({ path: '/2' });
    stop.abort();
    await lines.return(undefined);
  });
});

describe('a query of the log', () => {
  it.each<[AuditFilter, string[]]>([
    [{}, ['/1', '/2', '/3']],
    [{ event: 'denied' }, ['/2']],
    [{ event: 'grant.*' }, ['/3']],
    [{ host: 'other.example' }, ['/2']],
    [{ grants: new Set(['g1', 'g2']) }, ['/1']],
    [{ grants: new Set(['g1']), code: 'rule_denied' }, []],
    [{ agent: 'ci' }, ['/1', '/2']],
    [{ port: 8443 }, ['/3']],
    [{ port: 443 }, ['/1', '/2']],
    [{ port: 44 }, []],
    [{ code: 'rule_denied' }, ['/2']],
    [{ since: Date.UTC(2026, 0, 1, 0, 0, 1) }, ['/2', '/3']],
    [{ until: Date.UTC(2026, 0, 1, 0, 0, 1) }, ['/1']],
    [{ since: Date.UTC(2026, 0, 1, 0, 0, 1), until: Date.UTC(2026, 0, 1, 0, 0, 2) }, ['/2']],
  ])('%o returns %j', async (filter, expected) => {
    expect(await ask(filter)).toEqual(expected);
  });
});
