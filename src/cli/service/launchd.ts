import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { markup } from '../../lib/html.ts';
import { makeFolder } from '../../lib/os.ts';
import { type Plan, runTool, type ServiceManager, tryRun } from './manager.ts';

const label = 'dev.sidekey.proxy';

/** A macOS user's launchd. It cannot pass its socket to Node.js, so a restart briefly refuses connections. */
export function launchd(home: string, uid: number, env: NodeJS.ProcessEnv): ServiceManager {
  const file = join(home, 'Library', 'LaunchAgents', `${label}.plist`);
  const log = join(home, 'Library', 'Logs', 'sidekey.log');
  const domain = `gui/${uid}`;

  return {
    async install(plan) {
      for (const folder of [dirname(file), dirname(log)]) makeFolder(folder);
      await writeFile(file, plistText(plan, log), { mode: 0o600 });
      // Not loaded yet, or loaded in an older form.
      await tryRun(['launchctl', 'bootout', `${domain}/${label}`], env);
      await runTool(['launchctl', 'bootstrap', domain, file], env);
      return [file];
    },
    async uninstall() {
      if (!existsSync(file)) return [];
      await tryRun(['launchctl', 'bootout', `${domain}/${label}`], env);
      await rm(file);
      return [file];
    },
    async state() {
      if (!existsSync(file)) return null;
      const { code, stdout } = await tryRun(['launchctl', 'print', `${domain}/${label}`], env);
      const state = /^\tstate = (.*)$/m.exec(stdout)?.[1] ?? 'not loaded';
      const pid = Number(/^\tpid = (\d+)$/m.exec(stdout)?.[1] ?? 0) || null;
      return { running: code === 0 && state === 'running', state, pid, since: null, file };
    },
    logs: (lines, follow) => ['tail', '-n', String(lines), ...(follow ? ['-F'] : []), log],
  };
}

/** Returns the property list (launchd.plist(5)). */
export function plistText({ command, environment, stopMs }: Plan, log: string): string {
  const variables = Object.entries(environment).map(
    ([name, value]) => markup`    <key>${name}</key><string>${value}</string>`,
  );
  const { html } = markup`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key><string>${label}</string>
  <key>ProgramArguments</key>
  <array>
${command.map((word) => markup`    <string>${word}</string>`)}
  </array>
  <key>EnvironmentVariables</key>
  <dict>
${variables}
  </dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ExitTimeOut</key><integer>${Math.ceil(stopMs / 1_000)}</integer>
  <key>Umask</key><integer>${0o077}</integer>
  <key>HardResourceLimits</key><dict><key>Core</key><integer>0</integer></dict>
  <key>StandardOutPath</key><string>${log}</string>
  <key>StandardErrorPath</key><string>${log}</string>
</dict>
</plist>
`;
  return html;
}
