import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SidekeyError } from '../../lib/errors.ts';
import { makeFolder } from '../../lib/os.ts';
import { type Plan, runTool, type ServiceManager, tryRun } from './manager.ts';

const serviceUnit = 'sidekey.service';
const socketUnit = 'sidekey.socket';

/** The user's systemd. The socket unit keeps the socket during a restart, so connections wait. */
export function systemd(folder: string, env: NodeJS.ProcessEnv): ServiceManager {
  const units = join(folder, 'systemd', 'user');
  const files = [join(units, socketUnit), join(units, serviceUnit)];
  const control = (...args: string[]) => runTool(['systemctl', '--user', ...args], env);

  return {
    async install(plan) {
      // Before any write: without a user manager, no file remains.
      const { code, stderr } = await tryRun(['systemctl', '--user', 'daemon-reload'], env);
      if (code !== 0) {
        throw new SidekeyError(
          'service_failed',
          `systemd has no session of this user here: ${stderr.trim()}`,
          {
            hint: 'log in as this user (su and docker exec begin no session), or: sidekey start',
          },
        );
      }
      makeFolder(units);
      await writeFile(files[0]!, socketText(plan));
      await writeFile(files[1]!, serviceText(plan));
      await control('daemon-reload');
      // A socket unit accepts another address only while its service is stopped.
      await control('stop', serviceUnit, socketUnit);
      await control('enable', '--now', socketUnit);
      await control('enable', '--now', serviceUnit);
      return files;
    },
    async uninstall() {
      const there = files.filter((file) => existsSync(file));
      if (there.length === 0) return [];
      await control('disable', '--now', socketUnit, serviceUnit);
      for (const file of there) await rm(file);
      await control('daemon-reload');
      // Otherwise a failed unit stays listed.
      await tryRun(['systemctl', '--user', 'reset-failed', serviceUnit, socketUnit], env);
      return there;
    },
    async state() {
      if (!existsSync(files[1]!)) return null;
      const shown = await control(
        'show',
        serviceUnit,
        '--timestamp=unix',
        '--property=ActiveState,SubState,MainPID,ActiveEnterTimestamp',
      );
      const facts = new Map(shown.split('\n').map((line) => line.split('=', 2) as [string, string]));
      const running = facts.get('ActiveState') === 'active';
      const seconds = Number(facts.get('ActiveEnterTimestamp')?.replace('@', ''));
      return {
        running,
        state: `${facts.get('ActiveState')} (${facts.get('SubState')})`,
        pid: Number(facts.get('MainPID')) || null,
        since: running && seconds > 0 ? seconds * 1_000 : null,
        file: files[1]!,
      };
    },
    logs: (lines, follow) => [
      'journalctl',
      '--user',
      `--unit=${serviceUnit}`,
      `--lines=${lines}`,
      '--output=cat',
      ...(follow ? ['--follow'] : ['--no-pager']),
    ],
  };
}

/** Returns the socket unit (systemd.socket(5)). */
export function socketText({ listen: { host, port } }: Pick<Plan, 'listen'>): string {
  return `[Unit]
Description=Socket of Sidekey

[Socket]
ListenStream=${host.includes(':') ? `[${host}]` : host}:${port}
NoDelay=yes

[Install]
WantedBy=sockets.target
`;
}

/**
 * Returns the service unit (systemd.service(5), systemd.exec(5)) without options that need a mount or user
 * namespace: it would not start where these are forbidden. Programs of `command:` references read the home
 * folder.
 */
export function serviceText({ command, environment, stopMs }: Plan): string {
  return `[Unit]
Description=Sidekey, a proxy that adds credentials to the requests of agents
Requires=${socketUnit}
After=${socketUnit}

[Service]
Type=exec
ExecStart=${command.map(quoted).join(' ')}
${Object.entries(environment)
  .map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}\n`)
  .join('')}Restart=on-failure
RestartSec=1
TimeoutStopSec=${Math.ceil(stopMs / 1_000)}
KillMode=mixed
UMask=0077
LimitCORE=0
LimitNOFILE=524288
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
`;
}

/** Quotes a word of a unit file. Specifiers (%) and variables ($) stay literal (systemd.syntax(7)). */
function quoted(word: string): string {
  const escaped = word
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('%', '%%')
    .replaceAll('$', '$$$$')
    .replaceAll('\n', '\\n');
  return `"${escaped}"`;
}
