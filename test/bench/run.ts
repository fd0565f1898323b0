/**
 * `npm run bench`: measures the cost of an exchange through Sidekey and through other proxies, interleaved in
 * one run. The figure to trust is CPU an exchange: user and system time of the program on the way, which a
 * busy machine hardly changes. Read the ratios, not the absolute figures.
 *
 * Programs to compare with: `apt-get install nginx squid-openssl tinyproxy mitmproxy`, `npm ci --prefix
 * test/bench/peers`, and small programs around goproxy, hudsucker and proxy.py. A run names those that are
 * missing, with the command that makes them.
 *
 * Options: `--only` names of subjects, with commas: direct, tunnel, tinyproxy, bump, goproxy, hudsucker,
 * proxy.py, mitmproxy, sandbox-runtime, mockttp, http-mitm-proxy, http-proxy-3, relay, sidekey,
 * sidekey-workers, sidekey-tunnel; `--rows exchange,single,paced,bulk,tunnels,cold,idle,start`, `--seconds N`
 * a window (default 2), `--rounds N` (default 3), `--warm N` seconds of load on each subject before the first
 * (default 10), `--connections N` (default 64), `--markdown`, `--json FILE` (every sample), `--smoke` (one
 * short round of every section: that it runs at all), `--section
 * compare|decide|figures|h1|leak-guard|schemes|cost|api|streams|turns|soak|all` (default: compare, the table), `--gigabytes
 * N` of the soak each way (default 0.5), `--top N` entries of each profile of the section cost (default:
 * none).
 */
import { parseArgs } from 'node:util';
import { compare, rowNames } from './compare.ts';
import { benchApi } from './api.ts';
import { benchCost } from './cost/cost.ts';
import { benchDecide } from './decide.ts';
import { benchFigures } from './figures.ts';
import { benchLeakGuard } from './leak-guard.ts';
import { benchSchemes } from './schemes.ts';
import { benchH1 } from './h1.ts';
import { benchSoak } from './soak.ts';
import { benchStreams } from './streams/streams.ts';
import { benchTurns } from './turns.ts';
import { subjectIds } from './subjects.ts';

const { values } = parseArgs({
  options: {
    section: { type: 'string' },
    only: { type: 'string' },
    rows: { type: 'string' },
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    warm: { type: 'string', default: '10' },
    connections: { type: 'string', default: '64' },
    gigabytes: { type: 'string', default: '0.5' },
    markdown: { type: 'boolean', default: false },
    json: { type: 'string' },
    top: { type: 'string', default: '0' },
    smoke: { type: 'boolean', default: false },
  },
});
const { smoke } = values;

const sections: Readonly<Record<string, () => Promise<void>>> = {
  compare: benchCompare,
  decide: () => benchDecide({ smoke }),
  figures: () => benchFigures({ smoke }),
  h1: () => benchH1({ smoke }),
  'leak-guard': () => benchLeakGuard({ smoke }),
  schemes: () => benchSchemes({ smoke }),
  cost: () =>
    benchCost({
      seconds: smoke ? 0.2 : Number(values.seconds),
      rounds: smoke ? 1 : Number(values.rounds),
      warmSeconds: smoke ? 0.2 : Number(values.warm),
      connections: smoke ? 8 : Number(values.connections),
      retries: smoke ? 0 : 5,
      top: Number(values.top),
    }),
  api: () =>
    benchApi({ seconds: smoke ? 0.2 : Number(values.seconds), rounds: smoke ? 1 : Number(values.rounds) }),
  streams: () =>
    benchStreams({
      seconds: smoke ? 0.2 : Number(values.seconds),
      rounds: smoke ? 1 : Number(values.rounds),
      warmSeconds: smoke ? 0 : Number(values.warm),
      events: smoke ? 20 : 1_000,
      retries: smoke ? 0 : 3,
    }),
  turns: () =>
    benchTurns({
      seconds: smoke ? 0.2 : Number(values.seconds),
      rounds: smoke ? 1 : Number(values.rounds),
      warmSeconds: smoke ? 0 : Number(values.warm),
      connections: smoke ? 8 : Number(values.connections),
    }),
  soak: () => benchSoak({ gigabytes: smoke ? 0.1 : Number(values.gigabytes) }),
};
const section = values.section ?? (smoke ? 'all' : 'compare');
const chosen = section === 'all' ? Object.keys(sections) : listed('section', section, Object.keys(sections));
for (const [index, name] of chosen.entries()) {
  if (index > 0) console.log();
  await sections[name]?.();
}

async function benchCompare(): Promise<void> {
  const isRight = await compare({
    plan: {
      seconds: smoke ? 0.1 : Number(values.seconds),
      rounds: smoke ? 1 : Number(values.rounds),
      warmSeconds: smoke ? 0.1 : Number(values.warm),
      connections: smoke ? 8 : Number(values.connections),
      perSecond: 500,
      coldHostsPerRound: smoke ? 3 : 100,
      idleCounts: smoke ? [10, 30] : [1_000, 10_000],
      idlePatience: 40,
      retries: smoke ? 0 : 3,
    },
    only: values.only === undefined ? null : listed('subject', values.only, subjectIds),
    rows: values.rows === undefined ? null : listed('row', values.rows, rowNames),
    markdown: values.markdown,
    json: values.json ?? null,
  });
  if (!isRight) process.exitCode = 1;
}

/** The names in a list with commas. @throws Error where one is not known */
function listed(what: string, text: string, known: readonly string[]): readonly string[] {
  const names = text.split(',');
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`no ${what} ${unknown}; there are ${known.join(', ')}`);
  return names;
}
