import { SidekeyError } from '../../errors.ts';

/** What the flows say themselves, and what would be a secret in argv. */
const taken = new Set([
  'grant_type',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'assertion',
  'scope',
  'refresh_token',
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'device_code',
  'code',
  'password',
]);

/**
 * `--param NAME=VALUE`: sent with each token request.
 *
 * @throws SidekeyError `input_invalid` where one has no name, is there twice, or is none of the person's to set
 */
export function parametersOf(written: readonly string[] | undefined): Readonly<Record<string, string>> {
  const parameters: Record<string, string> = {};
  for (const text of written ?? []) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(at, 0));
    if (!/^[A-Za-z][A-Za-z0-9_.:-]{0,63}$/.test(name)) {
      // It may be a secret in the wrong place: it is not shown.
      throw wrong('--param is not NAME=VALUE', 'such as --param audience=https://api.example.com');
    }
    if (taken.has(name))
      throw wrong(`--param cannot set ${name}`, 'there is another way to say it: sidekey connect --help');
    if (Object.hasOwn(parameters, name)) throw wrong(`--param sets ${name} twice`, 'leave one out');
    parameters[name] = text.slice(at + 1);
  }
  return parameters;
}

function wrong(what: string, hint: string): SidekeyError {
  return new SidekeyError('input_invalid', `${what}.`, { hint });
}
