import { commandName } from '../../src/lib/command-name.ts';
import type { Screen } from './screen.ts';
import type { Stage } from './stage.ts';

/** What a person can try while the demo stays up, as lines to paste. */
export function showWhatToTry(
  { helpdesk, proxy, proxyUrl, configFile }: Stage,
  screen: Screen,
  ttl: number,
): void {
  const curl = `curl -x ${proxyUrl} --cacert ${proxy.authority.certificateFile}`;
  const tickets = `${helpdesk.issuer}/tickets`;
  const [config, sidekey] = [`--config ${configFile}`, commandName()];
  screen.title('It stays up.', `Paste into another terminal, in this folder. Tokens live ${ttl} s now.`);
  const say = (what: string, ...command: readonly string[]): void =>
    screen.lines('', screen.paint('dim', `# ${what}`), ...command);
  say('be the agent', `${curl} \\`, `  ${tickets}`);
  say(
    'write, too',
    `${curl} \\`,
    `  -H 'content-type: application/json' -d '{"title":"No coffee","team":"facilities"}' \\`,
    `  ${tickets}`,
  );
  say(
    'see who did what, that nobody changed it, why a request would pass, and the grant',
    `${sidekey} audit tail ${config}`,
    `${sidekey} audit verify ${config}`,
    `${sidekey} explain ${config} \\`,
    `  ${tickets}`,
    `${sidekey} grant list ${config}`,
  );
  screen.lines('', 'Ctrl-C ends it and removes its folder.');
}
