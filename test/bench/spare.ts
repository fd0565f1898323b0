/** Measurements on an instance without other load: start, and idle tunnels. */
import { WrongAnswers, type Measuring, type Sample } from './measures.ts';
import { openFileLimit, spawnProgram } from './process.ts';
import { kilobytePath, startInstance, targetOf } from './stand.ts';
import type { Prepared, Subject } from './subject.ts';

/** A figure that there is none of, and why. */
export class NoFigure extends Error {}

/**
 * From the spawn until it lets connections in, and until the first right answer, in milliseconds. It has been
 * started before.
 */
export async function measureStart(
  { client, ground }: Measuring,
  subject: Subject,
  prepared: Prepared,
): Promise<Sample> {
  const target = targetOf(ground, subject, prepared, await prepared.ca());
  const begin = performance.timeOrigin + performance.now();
  const { running, failure } = spawnProgram(prepared.command, prepared.args, prepared);
  try {
    const { listeningAt, answeredAt } = await client.do('firstAnswer', target, kilobytePath, 20_000);
    return {
      figures: { listening: listeningAt - begin, answers: answeredAt - begin },
      isClientBound: false,
    };
  } catch (error) {
    throw new Error(failure() ?? (error instanceof Error ? error.message : String(error)), { cause: error });
  } finally {
    await running.stop();
  }
}

/** KB of resident memory a tunnel, for each count; where there is none, why. */
export async function measureIdle(
  { client, ground, plan }: Measuring,
  subject: Subject,
  prepared: Prepared,
): Promise<readonly (number | NoFigure)[]> {
  const { target, program } = await startInstance(ground, subject, prepared);
  if (program === null) return [];
  const results: (number | NoFigure)[] = [];
  try {
    await client.do('newTunnels', target, kilobytePath, { width: 4, seconds: plan.seconds / 4 });
    await settled(plan.seconds);
    const base = program.residentMb();
    let perTunnel = 0;
    for (const count of plan.idleCounts) {
      const lacking = lack(count, subject.filesPerTunnel) ?? tooLong(count * perTunnel, plan.idlePatience);
      if (lacking !== null) {
        results.push(new NoFigure(lacking));
        continue;
      }
      const begin = performance.now();
      const { opened, failures } = await client.do(
        'growIdle',
        target,
        kilobytePath,
        count,
        plan.idlePatience,
      );
      if (failures > 0) throw new WrongAnswers(`${failures} answers were wrong`);
      perTunnel = (performance.now() - begin) / 1_000 / count;
      if (opened < count) {
        results.push(new NoFigure(`${opened} tunnels were opened in ${plan.idlePatience} s`));
        continue;
      }
      await settled(plan.seconds);
      const used = program.residentMb() - base;
      const open = await client.do('countIdle');
      results.push(
        open === count
          ? (used * 1_024) / count
          : new NoFigure(`${open.toLocaleString('en')} of ${count.toLocaleString('en')} stayed open`),
      );
    }
    return results;
  } finally {
    await client.do('closeIdle').catch(() => {});
    await program.stop();
  }
}

/** Limit of the machine that prevents so many tunnels; null: none. */
function lack(count: number, filesPerTunnel: number): string | null {
  const needed = count * Math.max(filesPerTunnel, 1) + 200;
  const limit = openFileLimit();
  if (needed <= limit) return null;
  return `needs ${needed.toLocaleString('en')} open files; the machine allows ${limit.toLocaleString('en')}`;
}

function tooLong(seconds: number, patience: number): string | null {
  return seconds <= patience ? null : `opening them would take ${Math.round(seconds)} s`;
}

function settled(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.min(1_000, seconds * 500)));
}
