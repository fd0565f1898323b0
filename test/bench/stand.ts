/** Subjects that stand there, ready to be asked. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoadClient } from './client.ts';
import type { LoadTarget } from './connection.ts';
import { kilobyteLength } from './load.ts';
import { startProgram, type Running } from './process.ts';
import type { Ground, Prepared, Subject } from './subject.ts';

/** An instance that runs. */
export interface Stand {
  readonly subject: Subject;
  readonly target: LoadTarget;
  /** Null: there is no program on the way. */
  readonly program: Running | null;
}

/** Path of the 1 KB response. */
export const kilobytePath = '/1k';

/** The upstream must see another: an answer of 200 proves that it was replaced. */
const placeholder = 'Bearer placeholder-0123456789abcdef';

export async function prepareInstance(
  ground: Ground,
  subject: Subject,
  name: string,
): Promise<Prepared | null> {
  if (subject.prepare === null) return null;
  const folder = join(ground.folder, `${subject.id}-${name}`);
  await mkdir(folder);
  return subject.prepare(folder);
}

export async function startInstance(
  ground: Ground,
  subject: Subject,
  prepared: Prepared | null,
): Promise<Stand> {
  if (prepared === null)
    return { subject, program: null, target: targetOf(ground, subject, null, ground.root) };
  const program = await startProgram(prepared.command, prepared.args, prepared.port, prepared);
  try {
    return { subject, program, target: targetOf(ground, subject, prepared, await prepared.ca()) };
  } catch (error) {
    await program.stop();
    throw error;
  }
}

export function targetOf(
  { host, port, token }: Ground,
  { adds }: Subject,
  prepared: Prepared | null,
  ca: string,
): LoadTarget {
  return {
    proxyPort: prepared?.port ?? null,
    host,
    port,
    ca,
    proxyUser: prepared?.proxyUser,
    authorization: adds ? placeholder : `Bearer ${token}`,
  };
}

/** One exchange, byte for byte. @throws Error where the answer is not the upstream's */
export async function prove(client: LoadClient, { target }: Pick<Stand, 'target'>): Promise<void> {
  const { status, sha256 } = await client.do('prove', target, kilobytePath);
  if (status !== 200) throw new Error(`it answers ${status} instead of 200`);
  const right = createHash('sha256').update('x'.repeat(kilobyteLength)).digest('hex');
  if (sha256 !== right) throw new Error('it answers 200 with another body');
}

/** Checks that the upstream refuses requests without the credential. Otherwise no 200 proves anything. */
export async function proveGround(client: LoadClient, ground: Ground, direct: Subject): Promise<void> {
  const target = { ...targetOf(ground, direct, null, ground.root), authorization: placeholder };
  const { status } = await client.do('prove', target, kilobytePath);
  if (status !== 403) throw new Error(`the upstream answers ${status} to a placeholder instead of 403`);
}
