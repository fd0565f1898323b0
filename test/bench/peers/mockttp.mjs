// mockttp as a proxy that sets a header: `node mockttp.mjs PORT FOLDER`.
import './names.mjs';
import { readFileSync } from 'node:fs';
import { getLocal } from 'mockttp';

const [port, folder] = process.argv.slice(2);
const server = getLocal({
  https: { key: readFileSync(`${folder}/ca.key`, 'utf8'), cert: readFileSync(`${folder}/ca.pem`, 'utf8') },
  recordTraffic: false,
  http2: false,
  maxBodySize: 0,
});
await server.start(Number(port));
await server.forAnyRequest().thenPassThrough({
  transformRequest: { updateHeaders: { authorization: `Bearer ${process.env.BENCH_TOKEN}` } },
});
