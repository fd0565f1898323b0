// ANTHROPIC_BASE_URL says where; the key is whatever the environment has.
import Anthropic from '@anthropic-ai/sdk';
const answer = await new Anthropic({ maxRetries: 0 }).messages.create({
  model: 'some-model',
  max_tokens: 16,
  messages: [{ role: 'user', content: 'hello' }],
});
console.log(answer.content[0].text);
