import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parseCases } from '../../../../src/operations/config-cases.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { decideRequest } from '../../../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../../../src/proxy/policy/domain-map.ts';

/**
 * Tables of decisions: `NAME.yaml` is a config file, `NAME.cases.yaml` what it must say, as `sidekey config
 * check --tests` reads it.
 */
const folder = fileURLToPath(new URL('../../../fixtures/policy/', import.meta.url));
const names = (await readdir(folder)).filter((file) => /^[^.]+\.yaml$/.test(file));

for (const file of names) {
  const config = await loadConfig(file, { env: {}, cwd: folder });
  const casesFile = file.replace('.yaml', '.cases.yaml');
  const cases = parseCases(await readFile(join(folder, casesFile), 'utf8'), casesFile, 0);
  const policy = { domains: createDomainMap(config.domains), unmatched: config.proxy.unmatchedHosts };
  describe(file, () => {
    test.each(cases)('line $line: $request is $expect', ({ facts, ...wanted }) => {
      const decision = decideRequest(policy, facts);
      const reported = decision.outcome === 'deny' ? null : decision.reported;
      const outcome = decision.outcome === 'inject' ? 'allow' : decision.outcome;
      const code = decision.outcome === 'deny' ? decision.code : (reported?.code ?? null);
      expect(reported?.outcome ?? outcome, decision.reason).toBe(wanted.expect);
      if (wanted.code !== null) expect(code).toBe(wanted.code);
      if (wanted.rule !== null) {
        expect([decision.ruleName, decision.rule.replace(/ \([^()]*\)$/, '')]).toContain(wanted.rule);
      }
      expect(decision.needsBody).toBe(false);
    });
  });
}
