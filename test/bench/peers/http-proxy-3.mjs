// The obvious design: node:http with http-proxy-3 behind it, certificates by node-forge: `node
// http-proxy-3.mjs PORT FOLDER`.
import './names.mjs';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, Agent as HttpAgent } from 'node:http';
import { Agent } from 'node:https';
import { createSecureContext, TLSSocket } from 'node:tls';
import forge from 'node-forge';
import { createProxyServer } from 'http-proxy-3';

const [port, folder] = process.argv.slice(2);
const { pki } = forge;
const authority = pki.certificateFromPem(readFileSync(`${folder}/ca.pem`, 'utf8'));
const authorityKey = pki.privateKeyFromPem(readFileSync(`${folder}/ca.key`, 'utf8'));
const { publicKey, privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});

const contexts = new Map();
function contextFor(host) {
  let context = contexts.get(host);
  if (context === undefined) {
    const leaf = pki.createCertificate();
    leaf.publicKey = pki.publicKeyFromPem(publicKey);
    leaf.serialNumber = `00${contexts.size + 1}`;
    leaf.validity.notBefore = new Date(Date.now() - 86_400_000);
    leaf.validity.notAfter = new Date(Date.now() + 86_400_000);
    leaf.setSubject([{ name: 'commonName', value: host }]);
    leaf.setIssuer(authority.subject.attributes);
    leaf.setExtensions([{ name: 'subjectAltName', altNames: [{ type: 2, value: host }] }]);
    leaf.sign(authorityKey, forge.md.sha256.create());
    context = createSecureContext({ key: privateKey, cert: pki.certificateToPem(leaf) });
    contexts.set(host, context);
  }
  return context;
}

const agents = { http: new HttpAgent({ keepAlive: true }), https: new Agent({ keepAlive: true }) };
const proxy = createProxyServer({ xfwd: false });
proxy.on('proxyReq', (request) => request.setHeader('authorization', `Bearer ${process.env.BENCH_TOKEN}`));
proxy.on('error', (_error, _request, response) => response.destroy());

const server = createServer((request, response) => {
  const { tunnel } = request.socket;
  const target = tunnel === undefined ? new URL(request.url).origin : `https://${tunnel}`;
  proxy.web(request, response, { target, agent: tunnel === undefined ? agents.http : agents.https });
});
server.on('connect', (request, socket) => {
  socket.on('error', () => socket.destroy());
  socket.write('HTTP/1.1 200 OK\r\n\r\n');
  const secure = new TLSSocket(socket, {
    isServer: true,
    secureContext: contextFor(request.url.replace(/:\d+$/, '')),
    ALPNProtocols: ['http/1.1'],
  });
  secure.tunnel = request.url;
  secure.on('error', () => secure.destroy());
  server.emit('connection', secure);
});
server.listen(Number(port), '127.0.0.1');
