/**
 * `npm run bench`: what an exchange costs, on the way through Sidekey and on other ways, in one run and turn by turn.
 * The figure to trust is CPU an exchange: user and system time of the program on the way, which a busy machine hardly
 * changes. Read the ratios, not the absolute figures.
 *
 * Options: `--section exchange|decide|h1|soak` (default: all, in turn), `--seconds N` a measurement (default 3), `--rounds N` (default
 * 5), `--connections N` (default 64), `--gigabytes N` of
 * the soak (default 0.5), `--smoke` (one short round: that it runs at all).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../../src/cli/table.ts';
import { benchDecide } from './decide.ts';
import { benchH1 } from './h1.ts';
import { openLoad } from './load.ts';
import { benchSoak } from './soak.ts';
import { setUpField, type Field, type Subject } from './subjects.ts';

interface Sample {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly p50: number;
  readonly p99: number;
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '64' },
    section: { type: 'string', default: 'all' },
    gigabytes: { type: 'string', default: '0.5' },
    smoke: { type: 'boolean', default: false },
  },
});
const seconds = values.smoke ? 0.5 : Number(values.seconds);
const rounds = values.smoke ? 1 : Number(values.rounds);
const connections = values.smoke ? 8 : Number(values.connections);

const sections: Readonly<Record<string, () => Promise<void>>> = {
  exchange: benchExchange,
  decide: () => benchDecide({ smoke: values.smoke }),
  h1: () => benchH1({ smoke: values.smoke }),
  soak: () => benchSoak({ gigabytes: values.smoke ? 0.125 : Number(values.gigabytes) }),
};
const chosen = values.section === 'all' ? Object.keys(sections) : [values.section];
for (const [index, name] of chosen.entries()) {
  const section = sections[name];
  if (section === undefined)
    throw new Error(`no section ${name}; there are ${Object.keys(sections).join(', ')}`);
  if (index > 0) console.log();
  await section();
}

async function benchExchange(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-bench-'));
  const field = await setUpField(folder);
  try {
    const busy = new Map<Subject, Sample[]>();
    const single = new Map<Subject, Sample[]>();
    for (let round = 0; round < rounds; round += 1) {
      for (const subject of field.subjects) {
        append(busy, subject, await measure(field, subject, connections));
        append(single, subject, await measure(field, subject, 1));
      }
    }
    report(field, busy, single);
  } finally {
    await field.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure({ host, port }: Field, subject: Subject, clients: number): Promise<Sample> {
  // Only where a credential is added is it asked for: so each 200 proves that it was.
  const addsCredential = subject.name === 'sidekey' || subject.name.includes('bump');
  const target = { proxyPort: subject.proxyPort, host, port, ca: subject.ca };
  const load = await openLoad(target, addsCredential ? '/guarded' : '/1k', clients);
  try {
    await load.run(seconds / 4);
    const before = subject.program?.cpuMicros() ?? 0;
    const { exchanges, seconds: elapsed, latencies, failures } = await load.run(seconds);
    const used = (subject.program?.cpuMicros() ?? 0) - before;
    if (failures > 0) throw new Error(`${subject.name}: ${failures} of ${exchanges} answers were not 200`);
    const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
    return { perSecond: exchanges / elapsed, cpuMicros: used / exchanges, p50: at(0.5), p99: at(0.99) };
  } finally {
    load.close();
  }
}

function report(field: Field, busy: Map<Subject, Sample[]>, single: Map<Subject, Sample[]>): void {
  const middle = (samples: readonly Sample[] | undefined, key: keyof Sample) =>
    median((samples ?? []).map((sample) => sample[key]));
  const named = (name: string) => field.subjects.find((subject) => subject.name === name);
  const direct = named('no proxy');
  const blind = named('squid, blind tunnel');
  const bump = named('squid, ssl-bump with a header');
  const cpu = (subject: Subject | undefined) =>
    subject === undefined ? Number.NaN : middle(busy.get(subject), 'cpuMicros');
  const rows = field.subjects.map((subject) => {
    const added = (key: 'p50' | 'p99') =>
      direct === undefined ? Number.NaN : middle(single.get(subject), key) - middle(single.get(direct), key);
    return [
      subject.name,
      subject.program === null ? '–' : cpu(subject).toFixed(1),
      ratio(cpu(subject), cpu(blind)),
      ratio(cpu(subject), cpu(bump)),
      Math.round(middle(busy.get(subject), 'perSecond')).toLocaleString('en'),
      added('p50').toFixed(0),
      added('p99').toFixed(0),
      subject.program === null ? '–' : subject.program.residentMb().toFixed(0),
    ];
  });
  console.log(
    `1 KB answers over kept-alive tunnels; ${connections} clients, ${rounds} rounds of ${seconds} s, medians.`,
  );
  console.log(`Node ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}\n`);
  console.log(
    table(
      [
        'way',
        'CPU µs/exchange',
        '÷ blind tunnel',
        '÷ ssl-bump',
        'exchanges/s',
        'added p50 µs',
        'added p99 µs',
        'MB',
      ],
      rows,
    ),
  );
  for (const line of field.missing) console.log(`missing: ${line}`);
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  map.set(key, [...(map.get(key) ?? []), value]);
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

function ratio(a: number, b: number): string {
  return Number.isFinite(a / b) && a > 0 ? (a / b).toFixed(2) : '–';
}
