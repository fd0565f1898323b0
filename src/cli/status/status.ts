import type { Context } from '../context.ts';
import { columns, proxyUrl } from '../format.ts';
import { askHealth, broken, type Finding } from './finding.ts';
import { look, lookAtBroken } from './look.ts';
import { exitCode, SidekeyError } from '../../lib/errors.ts';

/** `sidekey status`: exit code 1 where something needs attention. */
export async function status(context: Context, options: { readonly health?: boolean }): Promise<number> {
  if (options.health === true) return health(context);
  const { output } = context;
  const findings = await findAll(context);
  const ok = findings.every((finding) => finding.ok);
  output.result(
    {
      ok,
      ...Object.fromEntries(findings.map(({ name, ok, facts }) => [name.toLowerCase(), { ok, ...facts }])),
      needs: findings.flatMap(({ name, needs }) =>
        needs.map((need) => ({ about: name.toLowerCase(), ...need })),
      ),
    },
    describe(findings),
  );
  return ok ? exitCode.ok : exitCode.failure;
}

/** A config that is not valid hides nothing that can be known without its bad parts. */
export async function findAll({
  readConfig,
  salvageConfig,
  now,
}: Pick<Context, 'readConfig' | 'salvageConfig' | 'now'>): Promise<readonly Finding[]> {
  try {
    return await look(await readConfig(), now);
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const salvaged = await salvageConfig();
    return salvaged === null ? [broken('config', error)] : lookAtBroken(error, salvaged, now);
  }
}

/** A bad edit is no reason to take a proxy for dead that serves on with what it had. */
async function health({ readConfig, salvageConfig, output }: Context): Promise<number> {
  const { listen } = await readConfig().then(
    ({ proxy }) => proxy,
    async (error: unknown) => {
      const salvaged = await salvageConfig();
      if (salvaged === null || salvaged.lost.has('proxy')) throw error;
      return salvaged.config.proxy;
    },
  );
  const url = proxyUrl(listen);
  const found = await askHealth(listen);
  const ok = found.kind === 'serving';
  const text = {
    serving: `The proxy serves at ${url}.`,
    silent: `No proxy answers at ${url}.`,
    stranger: `What answers at ${url} is not Sidekey.`,
    unknown: 'proxy.listen has port 0: nobody can know where the proxy listens.',
  }[found.kind];
  output.result({ ok, health: found.kind }, text);
  return ok ? exitCode.ok : exitCode.failure;
}

function describe(findings: readonly Finding[]): string {
  const rows = findings.map(({ name, ok, text }) => [`${ok ? '✓' : '✗'} ${name}`, text]);
  const needs = findings.flatMap((finding) => finding.needs);
  const told = needs.flatMap(({ sentence, hint }) => [
    ...sentence.split('\n').map((line) => `  ${line}`),
    ...(hint === null ? [] : [`    → ${hint}`]),
  ]);
  return [...columns(rows), ...(told.length === 0 ? [] : ['', 'Needs attention:', ...told])].join('\n');
}
