import type { RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import type { Secret } from './support/secret.ts';
import { packageMissing, programs, stage, type SingleStage } from './support/stage.ts';

const saying =
  (document: object): RequestListener =>
  (request, response) => {
    request.resume();
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(document));
  };

interface Sdk {
  readonly name: string;
  readonly module: string;
  readonly program: string;
  readonly provider: string;
  readonly carried?: (secret: Secret) => Readonly<Record<string, string>>;
  readonly env?: (stage: SingleStage) => Readonly<Record<string, string>>;
  readonly args?: (stage: SingleStage) => readonly string[];
  readonly answer: object;
  readonly path: string;
  readonly says: string;
}

const sdks: readonly Sdk[] = [
  {
    name: 'the SDK of OpenAI',
    module: 'openai',
    program: 'openai.mjs',
    provider: 'openai',
    env: ({ upstream }) => ({ OPENAI_BASE_URL: `${upstream.url}/v1` }),
    answer: { choices: [{ message: { role: 'assistant', content: 'hello from the model' } }] },
    path: '/v1/chat/completions',
    says: 'hello from the model',
  },
  {
    name: 'the SDK of Anthropic',
    module: '@anthropic-ai/sdk',
    program: 'anthropic.mjs',
    provider: 'anthropic',
    carried: ({ token }) => ({ 'x-api-key': token }),
    env: ({ upstream }) => ({ ANTHROPIC_BASE_URL: upstream.url }),
    answer: { type: 'message', role: 'assistant', content: [{ type: 'text', text: 'hello from the model' }] },
    path: '/v1/messages',
    says: 'hello from the model',
  },
  {
    name: 'Octokit',
    module: 'octokit',
    program: 'octokit.mjs',
    provider: 'github',
    args: ({ upstream }) => [upstream.url],
    answer: { login: 'octocat' },
    path: '/user',
    says: 'octocat',
  },
  {
    name: 'the Gmail SDK of Google',
    module: '@googleapis/gmail',
    program: 'gmail.mjs',
    provider: 'google',
    args: ({ upstream }) => [`${upstream.url}/`],
    answer: { emailAddress: 'me@acme.test' },
    path: '/gmail/v1/users/me/profile',
    says: 'me@acme.test',
  },
  {
    name: 'the SDK of Slack',
    module: '@slack/web-api',
    program: 'slack.mjs',
    provider: 'slack',
    args: ({ upstream }) => [`${upstream.url}/api/`],
    answer: { ok: true, user: 'bot-of-acme' },
    path: '/api/auth.test',
    says: 'bot-of-acme',
  },
];

for (const { name, module, program, provider, carried, env, args, answer, path, says } of sdks) {
  test.skipIf(packageMissing(module))(
    `${name} works with only the environment variables, without seeing the token`,
    async () => {
      const staged = await stage(saying(answer), { provider, ...(carried === undefined ? {} : { carried }) });
      const ran = await staged.perform(
        [process.execPath, `${programs}${program}`, ...(args?.(staged) ?? [])],
        { env: env?.(staged) ?? {} },
      );
      expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining(says) });
      expect(staged.seen.map((request) => request.path)).toEqual([path]);
    },
  );
}
