/**
 * A process that takes `argv[4]` requests from the shared quota in the file `argv[2]` under the limits in
 * `argv[3]` (JSON) after a line on stdin, and prints how many it got, and the first and last time (JSON).
 */
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import type { RuleLimit } from '../../src/proxy/policy/rule.ts';
import { createSharedQuota } from '../../src/agents/quota/shared-quota.ts';

const [path = '', limits = '', requests = ''] = process.argv.slice(2);
const quota = createSharedQuota(path, { busyTimeoutMs: 10_000 });
const rules = JSON.parse(limits) as readonly RuleLimit[];
writeSync(1, 'ready\n');
await once(process.stdin, 'data');
process.stdin.destroy();
const from = Date.now();
let got = 0;
let to = from;
for (let n = 0; n < Number(requests); n += 1) {
  to = Date.now();
  if (quota.take(rules, { agent: 'ci', grant: 'grant-1' }, to).ok) {
    got += 1;
    quota.spend(rules, { agent: 'ci', grant: 'grant-1' }, 10, to);
    writeSync(1, '.');
  }
}
quota.close();
writeSync(1, `\n${JSON.stringify({ got, from, to })}\n`);
