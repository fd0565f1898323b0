/** Programs that know only the base address of an API, with the token of an agent as their key. */
import { expect, test } from 'vitest';
import { findClient } from '../support/client-program.ts';
import { curl, curlMissing } from '../support/curl.ts';
import { granted } from '../support/granted.ts';
import { addAgent } from '../support/rights.ts';
import { packageMissing, programs } from './support/stage.ts';

const token = `sidekey_agent_${'b'.repeat(43)}`;

async function setUp(answer: object) {
  const seen: unknown[] = [];
  const { upstream, sidekey } = await granted(
    (request, response) => {
      request.resume();
      seen.push([request.url, request.headers.authorization, request.headers['x-api-key']]);
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(answer));
    },
    { config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' } } },
  );
  await addAgent(sidekey.proxy.state.store, 'robot', token);
  return { seen, folder: sidekey.folder, at: `127.0.0.1:${sidekey.port}/+/${upstream.authority}` };
}

const toApi = (path: string) => [[path, expect.stringMatching(/^Bearer (?!sidekey)/), undefined]];

test.skipIf(packageMissing('openai'))(
  'the SDK of OpenAI sends requests with the credential without seeing it',
  async () => {
    const { seen, folder, at } = await setUp({
      choices: [{ message: { role: 'assistant', content: 'hello from the model' } }],
    });
    const node = await findClient(process.execPath, ['--version']);
    const env = { OPENAI_BASE_URL: `http://${at}/v1`, OPENAI_API_KEY: token };
    const { stdout } = await node.succeed([`${programs}openai.mjs`], { cwd: folder, env });
    expect(stdout).toContain('hello from the model');
    expect(seen).toEqual(toApi('/v1/chat/completions'));
  },
);

test.skipIf(packageMissing('@anthropic-ai/sdk'))(
  'the SDK of Anthropic sends requests with the credential without seeing it',
  async () => {
    const { seen, folder, at } = await setUp({
      type: 'message',
      role: 'assistant',
      content: [{ type: 'text', text: 'hello from the model' }],
    });
    const node = await findClient(process.execPath, ['--version']);
    const env = { ANTHROPIC_BASE_URL: `http://${at}`, ANTHROPIC_API_KEY: token };
    const { stdout } = await node.succeed([`${programs}anthropic.mjs`], { cwd: folder, env });
    expect(stdout).toContain('hello from the model');
    expect(seen).toEqual(toApi('/v1/messages'));
  },
);

test.skipIf(curlMissing)('curl can carry the agent token in the URL', async () => {
  const { seen, at } = await setUp({});
  expect(await curl('--noproxy', '*', `http://robot:${token}@${at}/v1/items`)).toMatchObject({ status: 200 });
  expect(seen).toEqual(toApi('/v1/items'));
});
