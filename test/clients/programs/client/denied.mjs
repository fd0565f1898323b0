// A request that a rule denies, by each library: its status, how often it is sent, and what the library says.
import Anthropic from '@anthropic-ai/sdk';
import { gmail } from '@googleapis/gmail';
import { Octokit } from 'octokit';
import OpenAI from 'openai';
import { sidekey, tell, upstream } from './sidekey.mjs';

let calls = 0;
const fetch = (...request) => {
  calls += 1;
  return sidekey(...request);
};
const message = { model: 'some-model', max_tokens: 16, messages: [{ role: 'user', content: 'hello' }] };
const libraries = {
  octokit: () => new Octokit({ baseUrl: upstream, request: { fetch } }).request('DELETE /user/keys/1'),
  openai: () => new OpenAI({ apiKey: 'sidekey', baseURL: upstream, fetch }).files.delete('f'),
  anthropic: () => new Anthropic({ apiKey: 'sidekey', baseURL: upstream, fetch }).messages.create(message),
  gmail: () =>
    gmail({ version: 'v1', rootUrl: `${upstream}/`, fetchImplementation: fetch }).users.messages.delete({
      userId: 'me',
      id: '1',
    }),
};
const told = {};
for (const [name, call] of Object.entries(libraries)) {
  calls = 0;
  const error = await call().catch((caught) => caught);
  told[name] = [error.status, calls, error.response?.data.message ?? error.message];
}
tell(told);
