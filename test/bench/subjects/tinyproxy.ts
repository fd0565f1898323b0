/** tinyproxy as a blind tunnel, where there is no squid. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../support/free-port.ts';
import { versionOf } from '../process.ts';
import type { Ground, Subject } from '../subject.ts';

export function tinyproxy(ground: Ground): Subject {
  return {
    id: 'tinyproxy',
    title: 'tinyproxy',
    what: `tinyproxy ${versionOf('tinyproxy', '-v')}, CONNECT passed through blind`,
    adds: false,
    coldReason: 'it resolves by the system alone',
    filesPerTunnel: 2,
    async prepare(folder) {
      const port = await freePort();
      const config = join(folder, 'tinyproxy.conf');
      const lines = [`Port ${port}`, 'Listen 127.0.0.1', 'Timeout 600', 'MaxClients 12000'];
      const log = ['LogLevel Critical', `LogFile "${join(folder, 'tinyproxy.log')}"`];
      await writeFile(config, `${[...lines, ...log].join('\n')}\n`);
      return {
        command: 'tinyproxy',
        args: ['-d', '-c', config],
        port,
        endsBy: 'SIGKILL',
        ca: async () => ground.root,
      };
    },
  };
}
