import type { Context } from '../context.ts';
import { withUpstreamClient } from '../context.ts';
import { columns, type Display, wrapMessage } from '../display.ts';
import { assertClients, examine, examineSetup, noteOn, titleOf } from '../../operations/doctor.ts';
import { findOffers } from '../../operations/find.ts';
import type { Need } from '../../operations/finding.ts';
import type { Domain } from '../../proxy/policy/domain-map.ts';
import { exitCode } from '../../lib/failures.ts';
import { findAll } from '../status/status.ts';
import { probeProgramsOf } from './probe.ts';
import { withHint } from '../../lib/hint.ts';

interface DoctorOptions {
  readonly only?: readonly string[];
  readonly offline?: boolean;
}

/** `sidekey doctor`: exit code 1 if there are problems. The config need not be valid. */
export async function doctor(context: Context, options: DoctorOptions): Promise<number> {
  const { output, env, now } = context;
  assertClients(options.only ?? []);
  const config = await context.readConfig().catch(() => null);
  const what =
    options.only === undefined ? 'Checking the setup and the installed programs' : 'Testing the programs';
  const parts = {
    config,
    now,
    health: () => findAll(context),
    offers: (domains: readonly Domain[]) => context.withView(({ store }) => findOffers(store, domains)),
    withFetch: async <T>(use: (fetch: typeof globalThis.fetch) => Promise<T>) =>
      withUpstreamClient(await context.readConfig(), env, ({ fetch }) => use(fetch)),
    probePrograms: probeProgramsOf({ env, now }),
  };
  const result = await output.during(what, () => examine(parts, options));
  output.result(examineSetup.answer(result, now()), describe(output.display, result));
  return result.needs.length === 0 ? exitCode.ok : exitCode.failure;
}

function describe(
  display: Display,
  { findings, probed, notes, needs }: Awaited<ReturnType<typeof examine>>,
): string {
  const installed = probed.filter(({ verdict }) => verdict !== null);
  const absent = probed.filter(({ verdict }) => verdict === null).map(titleOf);
  return [
    ...columns(
      display,
      findings.map(({ name, ok, text, facts }) => [
        facts['health'] === 'silent' ? '-' : ok ? '✓' : '✗',
        name,
        text,
      ]),
    ),
    ...(findings.length === 0 ? [] : ['']),
    ...columns(
      display,
      installed.map((each) => [
        each.verdict === 'works' ? '✓' : noteOn(each) === null ? '✗' : '-',
        titleOf(each),
        words[each.verdict ?? 'failed'],
      ]),
    ),
    ...(absent.length === 0 ? [] : [`not installed: ${absent.join(', ')}`]),
    '',
    ...notes.map((note) => needText('-', note, display)),
    ...needs.map((need) => needText(display.paint('red', '✗'), need, display)),
    ...(needs.length > 0 ? [] : [notes.length === 0 ? 'No problem found.' : 'No problem found in Sidekey.']),
  ].join('\n');
}

function needText(mark: string, { sentence, hint }: Need, display: Display): string {
  return `${mark} ${wrapMessage(withHint(`- ${sentence}`, hint), display).slice(2)}`;
}

const words = {
  works: 'works',
  untrusted: 'does not trust the CA',
  unproxied: 'bypasses the proxy',
  unauthenticated: 'shows no token',
  failed: 'fails',
  slow: 'did not end in time',
} as const;
