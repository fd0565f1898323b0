import type { AuditLine } from '../../audit/event.ts';
import { tailAudit } from '../../audit/query.ts';
import { displayName } from '../../config/problem.ts';
import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { onInterrupt } from '../interrupt.ts';
import { grantNames, readGrants } from './grant-names.ts';
import { lineFormat } from './line.ts';

/** `sidekey audit tail` */
export async function tail(
  { readConfig, output, now }: Context,
  options: { readonly lines: string; readonly follow?: boolean },
): Promise<void> {
  const lines = readCount(options.lines);
  const config = await readConfig();
  const { file } = config.audit;
  const last: AuditLine[] = [];
  const stop = new AbortController();
  const follow = options.follow === true;
  const nameOf = grantNames(output.json ? [] : await readGrants(config, now));
  let format = lineFormat([], nameOf);
  const print = (line: AuditLine) => output.result(line, format(line));

  if (!follow) {
    for await (const line of tailAudit({ file, lines })) last.push(line);
    format = lineFormat(last, nameOf);
    for (const line of last) print(line);
    if (last.length === 0) output.say(`Nothing was recorded in ${displayName(file, process.cwd())} yet.`);
    return;
  }
  const giveBack = onInterrupt(() => stop.abort());
  try {
    for await (const line of tailAudit({ file, lines, follow, signal: stop.signal })) print(line);
  } finally {
    giveBack();
  }
}

function readCount(text: string): number {
  if (/^[0-9]{1,7}$/.test(text)) return Number(text);
  throw new SidekeyError('input_invalid', '--lines is not a number from 0 to 9999999.', {
    hint: 'sidekey audit tail -n 50',
  });
}
