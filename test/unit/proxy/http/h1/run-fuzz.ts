/**
 * The longer run of the fuzzer of test/property/h1-fuzz.test.ts: `node test/unit/proxy/http/h1/run-fuzz.ts
 * [--seconds 60] [--seed N]`. Prints the seed, and exits with 1 where there is a problem.
 */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now()) },
  },
});
const seed = Number(values.seed);
console.log(`seed ${seed}`);
for (const whose of ['request', 'response'] as const) {
  const end = performance.now() + Number(values.seconds) * 500;
  const { runs, ways, problems } = fuzz(whose, { seed, goesOn: () => performance.now() < end });
  console.log(`${whose}: ${runs} inputs, ${ways} ways, ${problems.size} problems`);
  for (const [problem, text] of problems) console.log(`  ${problem}: ${JSON.stringify(text)}`);
  if (problems.size > 0) process.exitCode = 1;
}
