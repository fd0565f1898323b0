import { SidekeyError } from '../../errors.ts';
import { firstToken } from './first-token.ts';
import type { Obtain } from './flow.ts';
import { readKeyFile } from './key-file.ts';

/** `connect github-app --app-id ID --installation-id ID --key FILE`: tokens of an installation of a GitHub App. */
export const obtainByGithubInstallation: Obtain = async (request) => {
  const { context, provider, options } = request;
  const appId = options.appId ?? provider.clientId ?? undefined;
  const { installationId } = options;
  if (appId === undefined || !/^[A-Za-z0-9._-]{1,64}$/.test(appId)) {
    throw new SidekeyError(
      'input_invalid',
      appId === undefined ? 'Which app it is, is missing.' : '--app-id is no id of an app.',
      { hint: 'name its client id or its App ID with --app-id: the page of the app shows both' },
    );
  }
  if (installationId === undefined || !/^[0-9]{1,20}$/.test(installationId)) {
    throw new SidekeyError(
      'input_invalid',
      installationId === undefined
        ? 'Which installation it is, is missing.'
        : '--installation-id is no number.',
      {
        hint: 'it is the number at the end of the address of the installation’s page: --installation-id 12345678',
      },
    );
  }
  const { key } = await readKeyFile(context, options);
  return firstToken(request, { kind: 'github_installation', key, appId, installationId });
};
