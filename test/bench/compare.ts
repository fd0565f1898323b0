/** The comparison: all subjects in one run, turn by turn, and one table of it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { arch, cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { startLoadClient, type LoadClient } from './client.ts';
import { prepareGround } from './ground.ts';
import { inQuietWindow } from './machine.ts';
import { measures, warm, WrongAnswers, type Measuring, type Plan, type Sample } from './measures.ts';
import { report } from './report.ts';
import { Results } from './results.ts';
import { measureIdle, measureStart, NoFigure } from './spare.ts';
import { prepareInstance, prove, proveGround, startInstance, type Stand } from './stand.ts';
import type { Ground, Prepared, Subject } from './subject.ts';
import { chooseSubjects, direct } from './subjects.ts';

/** Allowed values of `--rows`. */
export const rowNames = ['exchange', 'single', 'paced', 'bulk', 'tunnels', 'cold', 'idle', 'start'] as const;

export interface Comparison {
  readonly plan: Plan;
  /** Ids of subjects; null: all. */
  readonly only: readonly string[] | null;
  /** Names of rows, from `rowNames`; null: all. */
  readonly rows: readonly string[] | null;
  readonly markdown: boolean;
  /** File for the raw figures. */
  readonly json: string | null;
}

/** Prints the table. Answers whether every answer of every subject was right. */
export async function compare({ plan, only, rows, markdown, json }: Comparison): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-bench-'));
  const client = startLoadClient();
  const { ground, upstream, server } = await prepareGround(folder, plan.rounds * plan.coldHostsPerRound);
  const stands: Stand[] = [];
  try {
    await proveGround(client, ground, direct);
    const { subjects: chosen, missing: absent } = chooseSubjects(ground, only);
    const missing = [...absent];
    const begun = await Promise.allSettled(chosen.map((subject) => setUp(ground, subject)));
    for (const each of begun)
      if (each.status === 'fulfilled' && typeof each.value !== 'string') stands.push(each.value);
    for (const each of begun) {
      if (each.status === 'rejected') throw each.reason;
      if (typeof each.value === 'string') missing.push(each.value);
    }
    for (const stand of stands) {
      await prove(client, stand).catch((error: unknown) => {
        throw new Error(`${stand.subject.title}: ${said(error)}`, { cause: error });
      });
    }
    const subjects = stands.map(({ subject }) => subject);
    const trial = new Trial({ client, ground, plan, stands, isWanted: (row) => rows?.includes(row) ?? true });
    await trial.run();
    console.log(report({ subjects, missing, results: trial.results, plan, server }, { markdown }));
    if (json !== null) {
      const machine = { node: process.versions.node, cpus: cpus().length, model: cpus()[0]?.model };
      const system = { release: release(), arch: arch(), memory: totalmem(), upstream: server };
      const raw = { machine: { ...machine, ...system }, plan, missing, ...trial.results.raw() };
      await writeFile(json, `${JSON.stringify(raw, null, 2)}\n`);
    }
    for (const line of trial.wrong) console.log(`WRONG: ${line}`);
    return trial.wrong.length === 0;
  } finally {
    await Promise.all([client.stop(), upstream.stop(), ...stands.map(({ program }) => program?.stop())]);
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Starts a subject. Answers why a peer cannot take part; without Sidekey itself there is nothing to compare.
 */
async function setUp(ground: Ground, subject: Subject): Promise<Stand | string> {
  try {
    return await startInstance(ground, subject, await prepareInstance(ground, subject, 'main'));
  } catch (error) {
    if (subject.prepare === null || subject.id.startsWith('sidekey')) throw error;
    return `${subject.id}: ${said(error)}`;
  }
}

interface TrialParts {
  readonly client: LoadClient;
  readonly ground: Ground;
  readonly plan: Plan;
  readonly stands: readonly Stand[];
  readonly isWanted: (row: string) => boolean;
}

/** One run over all subjects. */
class Trial {
  readonly results = new Results();
  /** Answers that were wrong, and failures of Sidekey. */
  readonly wrong: string[] = [];
  readonly #parts: TrialParts;
  readonly #spares = new Map<Subject, Prepared>();

  constructor(parts: TrialParts) {
    this.#parts = parts;
  }

  async run(): Promise<void> {
    const { plan, stands, isWanted } = this.#parts;
    if (isWanted('start') || isWanted('idle'))
      await Promise.all(stands.map(({ subject }) => this.#makeSpare(subject)));
    if (isWanted('exchange')) {
      progress('warming up');
      for (const stand of stands) await this.#warm(stand);
    }
    for (let round = 0; round < plan.rounds; round += 1) {
      const measuring: Measuring = { ...this.#parts, round };
      for (const [name, measure] of Object.entries(measures)) {
        if (!isWanted(name)) continue;
        progress(`round ${round + 1} of ${plan.rounds}: ${name}`);
        for (const stand of stands) {
          const { id, coldReason } = stand.subject;
          if (name === 'cold' && coldReason !== null) this.results.leaveOut(id, name, coldReason);
          else await this.#take(stand.subject, name, () => measure(measuring, stand));
        }
      }
      progress(`round ${round + 1} of ${plan.rounds}: start`);
      if (isWanted('start')) await this.#starts(measuring);
    }
    progress('idle tunnels');
    if (isWanted('idle')) await this.#idle({ ...this.#parts, round: 0 });
    progress('');
  }

  /** Failures show in what is measured after it; wrong answers are said at once. */
  async #warm(stand: Stand): Promise<void> {
    try {
      await warm(this.#parts, stand);
    } catch (error) {
      if (error instanceof WrongAnswers)
        this.wrong.push(`${stand.subject.title}, warming up: ${said(error)}`);
    }
  }

  async #starts(measuring: Measuring): Promise<void> {
    for (const [subject, spare] of this.#spares)
      await this.#take(subject, 'start', () => measureStart(measuring, subject, spare));
  }

  async #idle(measuring: Measuring): Promise<void> {
    for (const [subject, spare] of this.#spares) {
      let figures: readonly (number | NoFigure)[] = [];
      await this.#take(subject, 'idle', async () => {
        figures = await measureIdle(measuring, subject, spare);
        return { figures: {}, isClientBound: false };
      });
      for (const [index, name] of ['idle-few', 'idle-many'].entries()) {
        const kb =
          figures[index] ?? new NoFigure(this.results.gap(subject.id, 'idle') ?? 'it did not come to it');
        if (kb instanceof NoFigure) this.results.leaveOut(subject.id, name, kb.message);
        else this.results.add(subject.id, name, { figures: { kb }, isClientBound: false });
      }
    }
  }

  /** An instance that has been started once, so that it has made what a first start makes. */
  async #makeSpare(subject: Subject): Promise<void> {
    const { ground } = this.#parts;
    const prepared = await prepareInstance(ground, subject, 'spare');
    if (prepared === null) return;
    const stand = await startInstance(ground, subject, prepared);
    await stand.program?.stop();
    this.#spares.set(subject, prepared);
  }

  /**
   * One sample, of a window in which the machine was quiet where there is one in `plan.retries` more. A peer
   * that fails leaves a gap; wrong answers of anybody, and a failure of Sidekey, fail the run.
   */
  async #take({ id, title }: Subject, measure: string, take: () => Promise<Sample>): Promise<void> {
    try {
      const { result, dropped, isBusy } = await inQuietWindow(take, this.#parts.plan.retries);
      this.results.dropped += dropped;
      if (isBusy) this.results.busy += 1;
      this.results.add(id, measure, result);
    } catch (error) {
      this.results.leaveOut(id, measure, said(error));
      if (error instanceof WrongAnswers || id.startsWith('sidekey') || id === 'direct')
        this.wrong.push(`${title}, ${measure}: ${said(error)}`);
    }
  }
}

/** Progress for a person. Only the table is written to standard output. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
