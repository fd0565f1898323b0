import { isIP } from 'node:net';
import { userInfo } from 'node:os';
import type { Origin } from '../audit/event.ts';

/**
 * Who makes a change at the command line, and from where, for its audit event. The user of the system that the command
 * runs as is what the system says; who became that user by sudo, and from where they came by SSH, is what the
 * environment says.
 */
export function atCommandLine(env: NodeJS.ProcessEnv): Origin {
  const user = userName();
  const person = env['SUDO_USER'] ?? env['DOAS_USER'];
  const isOther = person !== undefined && /^[\w.@-]{1,64}$/.test(person) && person !== user;
  return { by: isOther ? `${person} (as ${user})` : user, client: `cli${sshClient(env['SSH_CONNECTION'])}` };
}

/** `SSH_CONNECTION` is `CLIENT PORT SERVER PORT`; what is none is nobody's address. */
function sshClient(connection: string | undefined): string {
  const [address = '', port = ''] = connection?.split(' ') ?? [];
  if (isIP(address) === 0 || !/^\d{1,5}$/.test(port)) return '';
  return isIP(address) === 6 ? `:[${address}]:${port}` : `:${address}:${port}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // In a container a user may have a number and no name.
    return String(process.getuid?.() ?? 'unknown');
  }
}
