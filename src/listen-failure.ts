import { SidekeyError } from './errors.ts';

/**
 * Why a server could not listen, as a failure with its way out.
 * @param setting the key of the config file that says where it listens
 */
export function listenFailure(
  cause: Error & { code?: string },
  { host, port, setting }: { readonly host: string; readonly port: number; readonly setting: string },
): SidekeyError {
  if (cause.code === 'EADDRINUSE') {
    return new SidekeyError('port_in_use', `${host}:${port} is in use by another program.`, {
      hint: `stop it, or set ${setting} to another port`,
      cause,
    });
  }
  return new SidekeyError(
    'listen_failed',
    `Sidekey cannot listen on ${host}:${port} (${cause.code ?? cause.message}).`,
    {
      hint: `set ${setting} to an address of this machine and a port that you may use`,
      cause,
    },
  );
}
