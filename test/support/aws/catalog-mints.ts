import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';

/** Reads the definition of `aws` in the catalog. */
export async function awsDefinition() {
  const text = await readFile('config/providers/aws.yaml', 'utf8');
  return parse(text) as { mints: { name: string; goes_to: string[] }[]; audience: string[] };
}

/** Returns a definition of `aws` with the `mints` of the catalog, for a test double on a port. */
export async function awsMinting(port: number): Promise<object> {
  const { mints, audience: hosts } = await awsDefinition();
  const audience = hosts.map((host) => `${host}:${port}`);
  return { inject: 'aws_sigv4', audience, mints: mints.map((row) => ({ ...row, goes_to: audience })) };
}
