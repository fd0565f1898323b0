import { expect, test } from 'vitest';
import { greeting, missing, stage } from './support/stage.ts';

test.skipIf(missing('curl', '--version'))(
  'a client that holds the token is detected by its environment, arguments, memory, files or output',
  async () => {
    const { perform, upstream, secret } = await stage(greeting);
    const ran = perform(['sh', '-c', 'printf $HAD | tee had; curl -sS -A $HAD $URL; exit 0'], {
      env: { HAD: secret.token, URL: upstream.url },
    });
    const { actual } = (await ran.catch((error: unknown) => error)) as { readonly actual: unknown };
    const curl = `curl -sS -A ${secret.token} ${upstream.url}`;
    expect(actual).toEqual(
      expect.arrayContaining(
        [`${curl}, environment`, `${curl}, arguments`, `${curl}, memory`, 'had', 'stdout'].map(
          (where) => `${where}: the token (as it is)`,
        ),
      ),
    );
  },
);
