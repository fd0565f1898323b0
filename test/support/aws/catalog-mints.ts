import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';

/** Returns a definition of `aws` with the `mints` of the catalog, for a test double on a port. */
export async function awsMinting(port: number): Promise<object> {
  const { mints } = parse(await readFile('config/providers/aws.yaml', 'utf8')) as { mints: object[] };
  const audience = ['*.amazonaws.com', '*.amazonaws.com.cn', '*.api.aws'].map((host) => `${host}:${port}`);
  return { inject: 'aws_sigv4', audience, mints: mints.map((row) => ({ ...row, goes_to: audience })) };
}
