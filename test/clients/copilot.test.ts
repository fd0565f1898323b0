/** GitHub's CLI of Copilot talks with a model, and never has the credential. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startCompanyProxy } from '../support/company-proxy.ts';
import { requestBody } from '../support/request-body.ts';
import { startUpstream, upstreamLeaf } from '../support/upstream.ts';
import { createSecret } from './support/secret.ts';
import { openStage, packageMissing, programs } from './support/stage.ts';

/** The hosts of an account with the plan for individuals, whose name follows from the first answer. */
const api = 'api.github.com';
const models = 'api.individual.githubcopilot.com';

const user = {
  login: 'octocat',
  copilot_plan: 'individual',
  chat_enabled: true,
  endpoints: { api: `https://${models}`, telemetry: 'https://telemetry.individual.githubcopilot.com' },
};
const model = {
  id: 'gpt-4.1',
  object: 'model',
  name: 'GPT-4.1',
  vendor: 'OpenAI',
  version: 'gpt-4.1',
  preview: false,
  model_picker_enabled: true,
  policy: { state: 'enabled', terms: '' },
  supported_endpoints: ['/chat/completions'],
  billing: { is_premium: false, multiplier: 0 },
  capabilities: {
    type: 'chat',
    family: 'gpt-4.1',
    object: 'model_capabilities',
    tokenizer: 'o200k_base',
    limits: { max_context_window_tokens: 128_000, max_output_tokens: 16_384, max_prompt_tokens: 128_000 },
    supports: { streaming: true, tool_calls: true },
  },
};
const choices = [{ index: 0, delta: { role: 'assistant', content: 'hello from the model' } }];
const end = {
  choices: [{ index: 0, delta: {}, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
};
/** The token pins the model for a while; it is sent beside the credential. */
const session = {
  available_models: [model.id],
  selected_model: model.id,
  session_token: 'the-token-of-the-model',
  expires_at: Math.floor(Date.now() / 1000) + 3_600,
  discounted_costs: {},
};
const answers: Readonly<Record<string, unknown>> = {
  [`${api}/copilot_internal/user`]: user,
  [`${models}/models`]: { object: 'list', data: [model] },
  [`${models}/models/session`]: session,
};

test.skipIf(packageMissing('@github/copilot'))(
  "GitHub's CLI of Copilot works with a placeholder",
  { timeout: 180_000 },
  async () => {
    const secret = createSecret();
    const seen = new Set<string>();
    const answer = async (host: string, request: IncomingMessage, response: ServerResponse) => {
      await requestBody(request);
      const name = host + request.url!.split('?', 1)[0]!;
      if (request.headers.authorization !== `Bearer ${secret.token}`) {
        seen.add(`${name} without the credential`);
        return response.writeHead(401).end('{}');
      }
      seen.add(name);
      if (name === `${models}/chat/completions`) {
        await secret.hold();
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        for (const part of [{ choices }, end])
          response.write(
            `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', ...part })}\n\n`,
          );
        return response.end('data: [DONE]\n\n');
      }
      const value = answers[name];
      return response
        .writeHead(value === undefined ? 404 : 200, { 'Content-Type': 'application/json' })
        .end(JSON.stringify(value ?? {}));
    };
    const ports = new Map<string, number>();
    for (const host of [api, models]) {
      const listen = (...it: [IncomingMessage, ServerResponse]) => void answer(host, ...it);
      ports.set(`${host}:443`, (await startUpstream(listen, upstreamLeaf(host))).port);
    }
    const proxy = await startCompanyProxy({
      answer: (target) => (ports.has(target) ? undefined : 'HTTP/1.1 403 Forbidden\r\n\r\n'),
      place: (target) => ({ host: '127.0.0.1', port: ports.get(target)! }),
    });
    const { script } = await openStage(secret, {
      domains: { [api]: { grant: 'client-test' }, '*.githubcopilot.com': { grant: 'client-test' } },
      provider: 'github',
      proxyPort: proxy.port,
    });
    const copilot = join(programs, 'node_modules', '.bin', 'copilot');
    const ran = await script([`${copilot} -p 'say hello' --allow-all-tools </dev/null`]);
    expect(ran.stdout.trim()).toBe('hello from the model');
    expect(ran.lookedInto).toContainEqual(expect.stringContaining('copilot'));
    expect(seen).toContain(`${models}/chat/completions`);
    expect([...seen].filter((name) => name.includes('without'))).toEqual([]);
  },
);
