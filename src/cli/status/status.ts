import { openView, type View } from '../../app/state.ts';
import { caughtFailure, SidekeyError } from '../../lib/errors.ts';
import { withHint } from '../../lib/hint.ts';
import { exitCode } from '../../lib/failures.ts';
import { broken, type Finding } from '../../operations/finding.ts';
import { proxyUrl } from '../../operations/format.ts';
import { checkHealth, healthStatus } from '../../operations/health.ts';
import type { Context } from '../context.ts';
import { columns, type Display, wrapMessage } from '../display.ts';
import { askHealth, probeOf } from './ask-proxy.ts';

/** `sidekey status`: exit code 1 if there are problems. */
export async function status(context: Context, options: { readonly health?: boolean }): Promise<number> {
  if (options.health === true) return health(context);
  const { output, now } = context;
  const findings = await findAll(context);
  const answer = healthStatus.answer(findings, now());
  output.result(answer, describe(output.display, findings));
  return answer.ok ? exitCode.ok : exitCode.failure;
}

/** Runs the checks. An invalid config disables only those that need its invalid parts. */
export async function findAll({
  readValidConfig,
  now,
  env,
}: Pick<Context, 'readValidConfig' | 'now' | 'env'>): Promise<readonly Finding[]> {
  const read = await readValidConfig().catch(caughtFailure);
  if (read instanceof SidekeyError) return [broken('config', read)];
  const { config } = read;
  let opening: Promise<View> | undefined;
  const open = () => (opening ??= openView(config, { now, env }));
  try {
    return await checkHealth({ ...read, open, proxy: probeOf(config), env, now });
  } finally {
    await (await opening?.catch(() => null))?.close();
  }
}

/** A proxy keeps its last valid config. */
async function health({ readValidConfig, output }: Context): Promise<number> {
  const { config, lost, invalid } = await readValidConfig();
  if (invalid !== null && lost.has('proxy')) throw invalid;
  const { listen } = config.proxy;
  const url = proxyUrl(listen);
  const found = await askHealth(listen);
  const ok = found.kind === 'serving';
  const text = {
    serving: `The proxy serves at ${url}.`,
    silent: `No proxy answers at ${url}.`,
    stranger: `What answers at ${url} is not Sidekey.`,
    unknown: 'proxy.listen has port 0: the port of the proxy is not known.',
  }[found.kind];
  output.result({ ok, health: found.kind }, text);
  return ok ? exitCode.ok : exitCode.failure;
}

function describe(display: Display, findings: readonly Finding[]): string {
  const rows = findings.map(({ name, ok, text }) => [`${ok ? '✓' : '✗'} ${name}`, text]);
  const needs = findings.flatMap((finding) => finding.needs);
  const told = needs.map(({ sentence, hint }) =>
    wrapMessage(withHint(sentence, hint).replaceAll(/^/gm, '  '), display),
  );
  return [
    ...columns(display, rows),
    ...(told.length === 0 ? [] : ['', display.paint('yellow', 'Needs attention:'), ...told]),
    ...(findings.some(({ name, text }) => name === 'grants' && text === 'none')
      ? ['', 'Nothing is connected yet.', '  → sidekey init']
      : []),
  ].join('\n');
}
