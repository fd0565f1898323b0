/**
 * `npm run bench -- --section cost`: the cost of one exchange through Sidekey and through the bare relay, by
 * resource. CPU is measured on instances without an inspector. Heap, collection and the code that runs are
 * measured on others. Windows in which the machine had other work are dropped. `--top N` prints the N largest
 * entries of the profiles of Sidekey.
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../support/free-port.ts';
import { createDisplay, table } from '../../../src/cli/display.ts';
import { startLoadClient, type LoadClient } from '../client.ts';
import type { LoadFigures } from '../client-main.ts';
import { prepareGround } from '../ground.ts';
import { kilobyteLength } from '../load.ts';
import { WrongAnswers } from '../measures.ts';
import { cpuMicrosOf, isInstalled, threadMicrosOf } from '../process.ts';
import { kilobytePath, prepareInstance, prove, startInstance, type Stand } from '../stand.ts';
import type { Ground, Prepared, Subject } from '../subject.ts';
import { relay } from '../subjects/relay.ts';
import { sidekey, sidekeySources } from '../subjects/sidekey.ts';
import {
  allocatedBytes,
  countCollections,
  countFunctions,
  openInspector,
  sampleCpu,
  sampleHeap,
  type Collected,
  type Inspector,
  type Share,
} from './inspector.ts';
import { busyText, isQuiet, watchMachine, type OtherWork } from '../machine.ts';
import { costTable, CostFigures, type CostColumn } from './report.ts';
import { countSystemCalls, type SystemCalls } from './strace.ts';

export interface CostPlan {
  /** Length of a window. */
  readonly seconds: number;
  readonly rounds: number;
  /** Load on each instance before its first window. */
  readonly warmSeconds: number;
  /** Clients of the windows that are not for one client. */
  readonly connections: number;
  /** Maximum repeats of a window if the machine had other work; after that the window is kept and marked. */
  readonly retries: number;
  /** Entries of each profile that are printed; 0: no profiles. */
  readonly top: number;
}

/** Prints the table. */
export async function benchCost(plan: CostPlan): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-bench-'));
  const client = startLoadClient();
  const { ground, upstream, server } = await prepareGround(folder, 0);
  const bench = new CostBench({ plan, ground, client });
  try {
    await bench.run();
    console.log(`Cost of one exchange: GET of 1 KB through a kept-alive tunnel; upstream: ${server}.`);
    const { rounds, seconds, warmSeconds } = plan;
    console.log(
      `${rounds} interleaved ${rounds === 1 ? 'round' : 'rounds'}, windows of ${seconds} s, after ${warmSeconds} s of load: median (least–most).`,
    );
    console.log(bench.lines().join('\n'));
  } finally {
    await Promise.all([client.stop(), upstream.stop(), bench.stop()]);
    await rm(folder, { recursive: true, force: true });
  }
}

interface CostParts {
  readonly plan: CostPlan;
  readonly ground: Ground;
  readonly client: LoadClient;
}

interface Instance {
  readonly column: CostColumn;
  readonly stand: Stand;
  readonly prepared: Prepared;
  readonly pid: number;
}

interface InspectedInstance extends Instance {
  readonly inspector: Inspector;
}

/** Files of which functions are counted. */
const ownFiles: Readonly<Record<CostColumn, RegExp>> = {
  relay: /\/test\/bench\/relay-main\.ts$/,
  sidekey: /\/src\/.+\.ts$/,
};

class CostBench {
  readonly #parts: CostParts;
  readonly #figures = new CostFigures();
  readonly #notes: string[] = [];
  readonly #running = new Set<Stand>();
  /** Windows that were dropped, and those that were kept although the machine was busy. */
  #dropped = 0;
  #busy = 0;

  constructor(parts: CostParts) {
    this.#parts = parts;
  }

  async run(): Promise<void> {
    const { ground } = this.#parts;
    await this.#withInstances([relay(ground), sidekey(ground)], 'plain', async (instances) => {
      await this.#cpu(instances);
      await this.#audit(instances);
      await this.#systemCalls(instances);
    });
    await this.#withInspected([relay(ground), sidekey(ground)], 'inspected', async (instances) => {
      await this.#memory(instances);
    });
    await this.#withInspected([relay(ground), sidekeySources(ground)], 'sources', async (instances) => {
      const { top } = this.#parts.plan;
      if (top > 0) await this.#profiles(instances, top);
      await this.#code(instances);
    });
  }

  lines(): string[] {
    const { connections } = this.#parts.plan;
    return [
      table(createDisplay({}, {}), ...costTable(this.#figures, connections)),
      `A CPU window is dropped where ${busyText}: ${this.#dropped} dropped.`,
      ...(this.#busy > 0
        ? [`The machine was BUSY in ${this.#busy} of the windows that the table has: do not quote its CPU.`]
        : []),
      ...this.#notes,
    ];
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running].map(async ({ program }) => program?.stop()));
    this.#running.clear();
  }

  /** CPU of all threads, on instances that nothing watches. */
  async #cpu(instances: readonly Instance[]): Promise<void> {
    const { plan } = this.#parts;
    for (const instance of instances) await this.#load(instance, plan.connections, [plan.warmSeconds]);
    for (let round = 0; round < plan.rounds; round += 1) {
      for (const connections of [plan.connections, 1]) {
        for (const instance of instances) await this.#cpuWindow(instance, connections);
      }
    }
  }

  async #cpuWindow(instance: Instance, connections: number): Promise<void> {
    const { plan, client } = this.#parts;
    const { column, pid } = instance;
    await this.#withLoad(instance, connections, async () => {
      right(await client.do('runLoad', plan.seconds / 4));
      for (let attempt = 0; ; attempt += 1) {
        const otherWork = watchMachine(() => cpuMicrosOf(process.pid));
        const before = threadMicrosOf(pid);
        const { exchanges } = right(await client.do('runLoad', plan.seconds));
        const after = threadMicrosOf(pid);
        const isBusy = isBusyNow(otherWork());
        if (isBusy && attempt < plan.retries) {
          this.#dropped += 1;
          continue;
        }
        if (isBusy) this.#busy += 1;
        const main = (after.main - before.main) / exchanges;
        const others = (after.others - before.others) / exchanges;
        const key = connections === 1 ? 'one' : 'many';
        this.#figures.add(column, `cpu-${key}`, main + others);
        this.#figures.add(column, `threads-${key}`, others);
        return;
      }
    });
  }

  async #audit(instances: readonly Instance[]): Promise<void> {
    const { plan } = this.#parts;
    for (const instance of instances) {
      const file = instance.prepared.auditFile;
      if (file === undefined) continue;
      for (const [key, connections] of widths(plan)) {
        // A file that was rotated meanwhile is no measure.
        for (let attempt = 0; attempt < 3; attempt += 1) {
          const before = await settledStat(file);
          const [figures] = await this.#load(instance, connections, [Math.min(plan.seconds, 1)]);
          const after = await settledStat(file);
          if (before.ino !== after.ino || after.size < before.size) continue;
          this.#figures.add(instance.column, `audit-${key}`, (after.size - before.size) / figures!.exchanges);
          break;
        }
      }
    }
  }

  async #systemCalls(instances: readonly Instance[]): Promise<void> {
    const { plan, client } = this.#parts;
    if (!isInstalled('strace')) {
      this.#notes.push('missing: strace, which counts system calls (apt-get install strace)');
      return;
    }
    try {
      for (let round = 0; round < plan.rounds; round += 1) {
        for (const [key, connections] of widths(plan)) {
          for (const instance of instances) {
            await this.#withLoad(instance, connections, async () => {
              right(await client.do('runLoad', plan.seconds / 4));
              const { result, calls } = await countSystemCalls(instance.pid, async () =>
                right(await client.do('runLoad', Math.min(plan.seconds, 1))),
              );
              const all = [...calls.values()].reduce((sum, count) => sum + count, 0);
              this.#figures.add(instance.column, `calls-${key}`, all / result.exchanges);
              if (round === plan.rounds - 1 && connections === 1)
                this.#notes.push(callsText(instance, calls, result.exchanges));
            });
          }
        }
      }
    } catch (error) {
      if (error instanceof WrongAnswers) throw error;
      this.#notes.push(`missing: system calls (${said(error)})`);
    }
  }

  /** Heap and collection, in windows of their own. */
  async #memory(instances: readonly InspectedInstance[]): Promise<void> {
    const { plan, client } = this.#parts;
    const collected = new Map<Instance, () => Promise<Collected>>();
    for (const instance of instances) {
      await this.#load(instance, plan.connections, [plan.warmSeconds]);
      collected.set(instance, await countCollections(instance.inspector));
    }
    for (let round = 0; round < plan.rounds; round += 1) {
      for (const [key, connections] of widths(plan)) {
        for (const instance of instances) {
          const { column, inspector } = instance;
          const pauses = collected.get(instance)!;
          await this.#withLoad(instance, connections, async () => {
            right(await client.do('runLoad', plan.seconds / 4));
            const before = { ...(await pauses()), bytes: await allocatedBytes(inspector) };
            const plain = right(await client.do('runLoad', plan.seconds));
            const after = { bytes: await allocatedBytes(inspector), ...(await pauses()) };
            const share = (after.pausedMs - before.pausedMs) / (after.activeMs - before.activeMs);
            this.#figures.add(column, `collection-${key}`, 100 * share);
            if (before.bytes !== null && after.bytes !== null)
              this.#figures.add(column, `counted-${key}`, (after.bytes - before.bytes) / plain.exchanges);
            const { result, shares } = await sampleHeap(inspector, async () =>
              right(await client.do('runLoad', Math.min(plan.seconds, 1))),
            );
            this.#figures.add(column, `heap-${key}`, sumOf(shares) / result.exchanges);
          });
        }
      }
    }
  }

  async #profiles(instances: readonly InspectedInstance[], top: number): Promise<void> {
    const { plan, client } = this.#parts;
    for (const instance of instances) {
      await this.#load(instance, plan.connections, [plan.warmSeconds]);
      await this.#withLoad(instance, plan.connections, async () => {
        const run = async () => right(await client.do('runLoad', plan.seconds));
        const cpu = await sampleCpu(instance.inspector, run);
        const heap = await sampleHeap(instance.inspector, run);
        const title = instance.stand.subject.title;
        const ran = cpu.shares.filter(({ name }) => name !== '(idle)');
        this.#notes.push(
          '',
          `${title}, sources, ${plan.connections} clients: largest shares of the main thread, µs of an exchange`,
          sharesTable(ran, top, cpu.result.exchanges),
          '',
          `${title}, sources, ${plan.connections} clients: largest allocators, bytes of an exchange`,
          sharesTable(heap.shares, top, heap.result.exchanges),
        );
      });
    }
  }

  /** Functions that a kept-alive GET runs. The least of some counts has no timer in it. */
  async #code(instances: readonly InspectedInstance[]): Promise<void> {
    const { plan, client } = this.#parts;
    for (const instance of instances) {
      await this.#withLoad(instance, 1, async () => {
        const passed = await countFunctions(instance.inspector, (url) => ownFiles[instance.column].test(url));
        right(await client.do('runLoad', Math.min(plan.seconds, 0.2)));
        let least = { files: Infinity, functions: Infinity, calls: Infinity };
        for (let turn = 0; turn < (plan.retries === 0 ? 3 : 10); turn += 1) {
          await new Promise((resolve) => setTimeout(resolve, 300));
          // A window without length is one exchange.
          const now = await passed(async () => {
            right(await client.do('runLoad', 0));
            await new Promise((resolve) => setTimeout(resolve, 50));
          });
          if (now.functions < least.functions) least = now;
        }
        this.#figures.add(instance.column, 'files', least.files);
        this.#figures.add(instance.column, 'functions', least.functions);
        this.#figures.add(instance.column, 'function-calls', least.calls);
      });
    }
  }

  async #withInstances(
    subjects: readonly Subject[],
    name: string,
    work: (instances: readonly Instance[]) => Promise<void>,
  ): Promise<void> {
    const { ground, client } = this.#parts;
    const instances: Instance[] = [];
    for (const subject of subjects) {
      const prepared = await prepareInstance(ground, subject, name);
      if (prepared === null) throw new Error(`${subject.id} has no program`);
      const stand = await startInstance(ground, subject, prepared);
      this.#running.add(stand);
      await prove(client, stand);
      const column = subject.id === 'relay' ? 'relay' : 'sidekey';
      instances.push({ column, stand, prepared, pid: stand.program?.pid ?? 0 });
    }
    await work(instances);
    await this.stop();
  }

  async #withInspected(
    subjects: readonly Subject[],
    name: string,
    work: (instances: readonly InspectedInstance[]) => Promise<void>,
  ): Promise<void> {
    const inspectors: Inspector[] = [];
    const ports = new Map<Subject, number>();
    for (const subject of subjects) ports.set(subject, await freePort());
    const inspected = subjects.map((subject) => withInspector(subject, ports.get(subject)!));
    try {
      await this.#withInstances(inspected, name, async (instances) => {
        const opened: InspectedInstance[] = [];
        for (const [index, instance] of instances.entries()) {
          const inspector = await openInspector(ports.get(subjects[index]!)!);
          inspectors.push(inspector);
          opened.push({ ...instance, inspector });
        }
        await work(opened);
      });
    } finally {
      for (const inspector of inspectors) inspector.close();
    }
  }

  async #withLoad(instance: Instance, connections: number, work: () => Promise<void>): Promise<void> {
    const { client } = this.#parts;
    const what = { connections, length: kilobyteLength, sent: null };
    await client.do('openLoad', instance.stand.target, kilobytePath, what);
    try {
      await work();
    } finally {
      await client.do('closeLoad');
    }
  }

  /** Windows of load; their figures. */
  async #load(
    instance: Instance,
    connections: number,
    windows: readonly number[],
  ): Promise<readonly LoadFigures[]> {
    const figures: LoadFigures[] = [];
    await this.#withLoad(instance, connections, async () => {
      for (const seconds of windows) figures.push(right(await this.#parts.client.do('runLoad', seconds)));
    });
    return figures;
  }
}

function withInspector(subject: Subject, port: number): Subject {
  const { prepare } = subject;
  if (prepare === null) return subject;
  return {
    ...subject,
    prepare: async (folder) => {
      const prepared = await prepare(folder);
      return { ...prepared, args: [`--inspect=127.0.0.1:${port}`, ...prepared.args] };
    },
  };
}

function widths({ connections }: CostPlan): readonly (readonly ['many' | 'one', number])[] {
  return [
    ['many', connections],
    ['one', 1],
  ];
}

function isBusyNow(work: OtherWork | null): boolean {
  return work === null || !isQuiet(work);
}

/** The audit log writes after the answer; it is at rest by then. */
async function settledStat(file: string): Promise<{ readonly ino: number; readonly size: number }> {
  await new Promise((resolve) => setTimeout(resolve, 200));
  return stat(file);
}

function callsText({ stand }: Instance, calls: SystemCalls, exchanges: number): string {
  const each = [...calls]
    .map(([name, count]) => ({ name, share: count / exchanges }))
    .filter(({ share }) => share >= 0.05)
    .toSorted((a, b) => b.share - a.share);
  return `${stand.subject.title}, system calls at 1 client: ${each.map(({ name, share }) => `${share.toFixed(1)} ${name}`).join(', ')}`;
}

function sharesTable(shares: readonly Share[], top: number, exchanges: number): string {
  const all = sumOf(shares);
  return table(
    createDisplay({}, {}),
    ['function', 'an exchange', 'share', 'where'],
    shares
      .slice(0, top)
      .map(({ name, where, self }) => [
        name,
        (self / exchanges).toFixed(self / exchanges < 100 ? 2 : 0),
        `${((100 * self) / all).toFixed(1)} %`,
        where,
      ]),
  );
}

function sumOf(shares: readonly Share[]): number {
  return shares.reduce((sum, { self }) => sum + self, 0);
}

function right(figures: LoadFigures): LoadFigures {
  const { failures, exchanges } = figures;
  if (failures > 0) throw new WrongAnswers(`${failures} of ${exchanges} answers were wrong`);
  return figures;
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
