/**
 * A process that appends to an audit log: `audit-writer.ts FILE NAME MAX_BYTES COUNT BURST`. It prints the
 * path of each event on its own line after the log has acknowledged it, or the reason of a refusal. Paths
 * are `/NAME/1`, `/NAME/2` …
 */
import fs from 'node:fs';
import { openAuditLog } from '../../src/audit/log.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const [file = '', name = '', maxBytes, count, burst] = process.argv.slice(2);

const log = await openAuditLog({
  file,
  maxBytes: Number(maxBytes),
  vault: vaultForTest(),
  now: Date.now,
  node: 'host',
});

async function append(path: string): Promise<void> {
  try {
    await log.append({
      event: 'access',
      method: 'GET',
      host: 'api.example.com',
      path,
      reason: 'x'.repeat(200),
    });
    fs.writeSync(1, `${path}\n`);
  } catch (error) {
    fs.writeSync(1, `refused ${(error as { code: string }).code}\n`);
  }
}

for (let n = 0; n < Number(count); n += Number(burst)) {
  await Promise.all(Array.from({ length: Number(burst) }, (_, index) => append(`/${name}/${n + index + 1}`)));
}
await log.close();
