// OPENAI_BASE_URL says where; the key is whatever the environment has.
import OpenAI from 'openai';
const answer = await new OpenAI({ maxRetries: 0 }).chat.completions.create({
  model: 'some-model',
  messages: [{ role: 'user', content: 'hello' }],
});
console.log(answer.choices[0].message.content);
