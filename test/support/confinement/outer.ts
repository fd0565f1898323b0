/**
 * Runs one command as `sidekey run` does, with chosen mechanisms: a process of its own, so that the command
 * attacks this one instead of the tests. Arguments: a job as JSON. Answers requests of the command at the
 * socket of the proxy.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import {
  closeInherited,
  confine,
  type Mechanisms,
  openRunFolder,
} from '../../../src/clients/confine/confine.ts';
import { insidePort } from '../../../src/clients/confine/access.ts';
import { born, planOf } from '../../../src/clients/confine/plan.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { appended, secret } from './attempt.ts';

export interface Job {
  readonly config: string;
  readonly env: Readonly<Record<string, string>>;
  readonly folder: string;
  /** Null: the command runs without confinement. */
  readonly mechanisms: Mechanisms | null;
  readonly words: readonly string[];
  readonly exceptions: Readonly<Record<'show' | 'write' | 'socket', readonly string[]>>;
}

/** Requests of the command, which somebody outside of the run would do. */
const requests: Readonly<Record<string, (words: readonly string[]) => unknown>> = {
  nothing: () => undefined,
  /** Replaces a file as programs do: with a new one that is renamed into place. */
  replace([path = '']) {
    writeFileSync(`${path}.new`, secret);
    renameSync(`${path}.new`, path);
  },
  /** Fails if a file does not end with the line that an attempt appends. */
  changed([path = '']) {
    if (!readFileSync(path, 'utf8').endsWith(appended)) throw new Error('not changed');
  },
  async connect([port]) {
    const socket = connect(Number(port), '127.0.0.1');
    await once(socket, 'connect');
    socket.destroy();
  },
};

function answer(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.setEncoding('utf8').once('data', (line: string) => {
    const [name = '', ...words] = line.trim().split(' ');
    void Promise.resolve()
      .then(() => requests[name]!(words))
      .then(
        () => socket.end('done'),
        (error: unknown) => socket.end(String(error)),
      );
  });
}

closeInherited();
const job = JSON.parse(process.argv[2] ?? '') as Job;
const config = await loadConfig(job.config, { env: job.env });
const server = createServer(answer);
const env = { ...job.env, OUTER_PID: String(process.pid) };
const [program = '', ...words] = job.words;
const listening = (on: object) => once(server.listen(on), 'listening');

let child: ChildProcess;
let made: readonly string[] = [];
if (job.mechanisms === null) {
  await listening({ port: 0, host: '127.0.0.1' });
  const { port } = server.address() as AddressInfo;
  child = spawn(program, words, {
    cwd: job.folder,
    env: { ...env, OUTER_PORT: String(port) },
    stdio: 'inherit',
  });
  await once(child, 'exit');
} else {
  const plan = planOf({ config, env: job.env, folder: job.folder, program, ...job.exceptions });
  const folder = openRunFolder();
  writeFileSync(join(folder.trust, 'ca.pem'), 'certificates');
  const confined = await confine(plan, job.mechanisms, folder);
  await listening(confined.socket ?? { port: 0, host: '127.0.0.1' });
  const port = confined.socket === null ? (server.address() as AddressInfo).port : insidePort;
  const exit = once(confined.child, 'exit');
  const variables = { ...confined.variables, OUTER_PORT: String(port), TRUST: folder.trust };
  await confined.execute({ program, words, env: { ...env, ...variables } }, port);
  await exit;
  made = born(plan);
  await folder.close();
  child = confined.child;
}
server.close();
process.send?.({ code: child.exitCode, born: made });
process.disconnect?.();
