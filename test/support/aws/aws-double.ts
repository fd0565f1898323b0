import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { makeTestAuthority } from '../certificates.ts';
import { tempFolder } from '../temp-folder.ts';
import { python } from './python.ts';

/** A request that the test double received. */
export interface SeenByAws {
  readonly method: string;
  readonly path: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** The key id, service and `x-amz-content-sha256` of its signature; absent when it was refused. */
  readonly id?: string;
  readonly service?: string;
  readonly mode?: string | null;
  readonly bytes?: number;
  /** The reason why the signature is invalid. */
  readonly refused?: string;
}

/** The real keys, which the test double knows. */
export interface KeysOfDouble {
  readonly id: string;
  readonly secret: string;
  readonly token?: string;
}

/** A test double of a part of AWS that verifies signatures itself. */
export interface AwsDouble {
  readonly port: number;
  readonly seen: readonly SeenByAws[];
  /** Keys that its STS handed out. */
  readonly issued: readonly KeysOfDouble[];
  /** PEM of the CA of its certificate. */
  readonly ca: string;
  /** Entry for `upstream.resolve` of the config. */
  readonly hosts: readonly string[];
}

const hosts = ['s3', 'bucket.s3', 'sts', 'dynamodb'].map((name) => `${name}.eu-west-1.amazonaws.com`);
const authority = makeTestAuthority('AWS Test Root');

/** Starts the test double; closed when the test ends. */
export async function startAwsDouble(...keys: readonly KeysOfDouble[]): Promise<AwsDouble> {
  const folder = await tempFolder();
  const leaf = authority.issue(hosts);
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  await writeFile(files.cert, leaf.cert);
  await writeFile(files.key, leaf.key, { mode: 0o600 });
  const child = spawn(python, ['-I', join(import.meta.dirname, 'aws_double.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  onTestFinished(async () => {
    child.stdin.end();
    await ended;
  });
  const known = Object.fromEntries(keys.map(({ id, secret, token }) => [id, { secret, token }]));
  child.stdin.write(`${JSON.stringify({ ...files, keys: known })}\n`);
  const seen: SeenByAws[] = [];
  const issued: KeysOfDouble[] = [];
  const port = await new Promise<number>((resolve, reject) => {
    void ended.then(() => reject(new Error('the double of AWS did not start')));
    createInterface(child.stdout).on('line', (line) => {
      const said = JSON.parse(line) as
        SeenByAws | { readonly port: number } | { readonly issued: KeysOfDouble };
      if ('port' in said) resolve(said.port);
      else if ('issued' in said) issued.push(said.issued);
      else seen.push(said);
    });
  });
  return { port, seen, issued, ca: authority.cert, hosts };
}
