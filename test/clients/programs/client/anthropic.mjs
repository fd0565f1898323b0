import Anthropic from '@anthropic-ai/sdk';
import { sidekey, tell, upstream } from './sidekey.mjs';

const anthropic = new Anthropic({ apiKey: 'sidekey', baseURL: upstream, fetch: sidekey });
const stream = anthropic.messages.stream({
  model: 'some-model',
  max_tokens: 16,
  messages: [{ role: 'user', content: 'hello' }],
});
const events = [];
for await (const { delta } of stream)
  if (delta?.text !== undefined) {
    events.push(delta.text);
    if (events.length === 1) await sidekey(`${upstream}/seen`, { method: 'POST' });
  }
const { content } = await stream.finalMessage();
tell({ events, text: content[0].text });
