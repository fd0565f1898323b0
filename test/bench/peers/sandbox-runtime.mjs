// The proxy of sandbox-runtime with TLS termination, which sets a header: `node sandbox-runtime.mjs PORT
// FOLDER`.
import './names.mjs';
import { readFileSync } from 'node:fs';
import { createHttpProxyServer } from '@anthropic-ai/sandbox-runtime/dist/sandbox/http-proxy.js';
import { createMitmCA } from '@anthropic-ai/sandbox-runtime/dist/sandbox/mitm-ca.js';

const [port, folder] = process.argv.slice(2);
const server = createHttpProxyServer({
  filter: () => true,
  mitmCA: createMitmCA({ caCertPath: `${folder}/ca.pem`, caKeyPath: `${folder}/ca.key` }),
  tlsTerminateUpstreamCA: readFileSync(process.env.BENCH_ROOT, 'utf8'),
  mutateHeaders: (headers) => {
    headers.authorization = `Bearer ${process.env.BENCH_TOKEN}`;
  },
});
server.listen(Number(port), '127.0.0.1');
