import OpenAI, { toFile } from 'openai';
import { sidekey, tell, upstream } from './sidekey.mjs';

const openai = new OpenAI({ apiKey: 'sidekey', baseURL: `${upstream}/v1`, fetch: sidekey });
const messages = [{ role: 'user', content: 'hello' }];
const answer = await openai.chat.completions.create({ model: 'some-model', messages });
const events = [];
for await (const event of await openai.chat.completions.create({
  model: 'some-model',
  messages,
  stream: true,
})) {
  events.push(event.choices[0].delta.content);
  // The upstream sends the second event when it has this.
  if (events.length === 1) await sidekey(`${upstream}/seen`, { method: 'POST' });
}
const file = await toFile(Uint8Array.of(0, 255), 'ü.bin', { type: 'application/x-own' });
const { id } = await openai.files.create({ file, purpose: 'assistants' });
tell({ answer: answer.choices[0].message.content, events, id });
