/** The parts that all subjects share where the upstream is a Node.js program of the bench. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../support/free-port.ts';
import { issueLeaf, makeAuthority, validFor } from '../../examples/helpdesk/certificate.ts';
import { type Running, startProgram } from './process.ts';
import type { Ground } from './subject.ts';

/** Starts `node FILE FOLDER PORT` as the upstream, with its token and its certificate in the folder. */
export async function startNodeUpstream(
  folder: string,
  file: string,
): Promise<{ readonly ground: Ground; readonly upstream: Running }> {
  const [host, token] = ['localhost', 'bench-token-0123456789abcdef'];
  const authority = makeAuthority('Bench Root', validFor(30, Date.now()));
  const leaf = issueLeaf(authority, host, validFor(30, Date.now()));
  await writeFile(join(folder, 'root.pem'), authority.cert);
  await writeFile(join(folder, 'leaf.pem'), leaf.cert);
  await writeFile(join(folder, 'leaf.key'), leaf.key);
  await writeFile(join(folder, 'token'), token);
  const port = await freePort();
  const program = fileURLToPath(new URL(file, import.meta.url));
  const ground: Ground = {
    folder,
    host,
    port,
    coldHosts: [],
    root: authority.cert,
    rootFile: join(folder, 'root.pem'),
    token,
    rsaAuthority: authority,
  };
  return { ground, upstream: await startProgram(process.execPath, [program, folder, String(port)], port) };
}
