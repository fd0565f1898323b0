import { csvHead, csvLine } from '../../audit/csv.ts';
import type { AuditLine } from '../../audit/event.ts';
import { queryAudit } from '../../audit/query.ts';
import { displayName } from '../../config/problem.ts';
import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { readConditions, type ConditionOptions, type Conditions } from './conditions.ts';
import { grantNames } from './grant-names.ts';
import { lineFormat } from './line.ts';

/** As many lines are held back to align their columns; further ones are printed as they are found. */
const aligned = 500;

/** `sidekey audit query` */
export async function query(
  context: Context,
  options: ConditionOptions & { readonly csv?: boolean },
): Promise<void> {
  const { output } = context;
  if (options.csv === true && output.json) {
    throw new SidekeyError('input_invalid', '--csv and --json are two forms of the same.', {
      hint: 'give one of them',
    });
  }
  const conditions = await readConditions(context, options);
  if (options.csv === true) return printCsv(context, conditions);
  const { file, filter, fits, grants } = conditions;
  const nameOf = grantNames(grants);
  let held: AuditLine[] | null = [];
  let format = lineFormat([], nameOf);
  const printHeld = () => {
    format = lineFormat(held ?? [], nameOf);
    for (const line of held ?? []) output.result(line, format(line));
    held = null;
  };
  for await (const line of queryAudit({ file, filter })) {
    if (!fits(line)) continue;
    if (held === null) {
      output.result(line, format(line));
      await output.drained();
      continue;
    }
    held.push(line);
    if (held.length === aligned) printHeld();
  }
  if (held?.length === 0) output.say(`Nothing in ${displayName(file, process.cwd())} fits.`);
  printHeld();
}

async function printCsv({ output }: Context, { file, filter, fits }: Conditions): Promise<void> {
  output.bytes(Buffer.from(csvHead));
  for await (const line of queryAudit({ file, filter })) {
    if (!fits(line)) continue;
    output.bytes(Buffer.from(csvLine(line)));
    await output.drained();
  }
}
