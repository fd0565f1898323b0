import { readFile, writeFile } from 'node:fs/promises';
import type { SerializedError } from 'vitest';
import { JsonReporter, type JsonTestResults, type TestModule } from 'vitest/node';

/**
 * JSON report in which the file of an unhandled error has failed. The report of vitest leaves such errors
 * out, so CI could neither name one nor run its file again. An error of no file fails a file named `vitest`.
 */
export default class extends JsonReporter {
  constructor() {
    super({});
  }

  override async onTestRunEnd(
    modules: readonly TestModule[],
    errors: readonly SerializedError[] = [],
  ): Promise<void> {
    await super.onTestRunEnd(modules);
    const { outputFile } = this.ctx.config;
    const file = (outputFile as { readonly json: string }).json;
    const results = JSON.parse(await readFile(file, 'utf8')) as JsonTestResults;
    for (const { VITEST_TEST_PATH: path = 'vitest', type, stack, message } of errors) {
      const failed = { status: 'failed' as const, message: `${String(type)}: ${stack ?? message}` };
      const of = results.testResults.find(({ name }) => name === path);
      if (of !== undefined) Object.assign(of, failed);
      else
        results.testResults.push({
          ...failed,
          name: String(path),
          startTime: 0,
          endTime: 0,
          assertionResults: [],
        });
    }
    await writeFile(file, JSON.stringify(results));
  }
}
