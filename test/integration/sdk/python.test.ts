import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { startConnecting } from '../../support/connect-session.ts';
import { startDevice } from '../../support/device-session.ts';
import { linesOf, packagesMissing, startPython, systemPython } from '../../support/python-program.ts';
import { startService } from '../../support/service.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startUpstream } from '../../support/upstream.ts';

const absent = packagesMissing(systemPython, 'httpx');
const why = absent === false ? '' : ` (skipped: ${absent})`;

async function withTickets() {
  const upstream = await startUpstream((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.url === '/bytes') return void response.end(Buffer.of(0xff, 0, 0xfe));
      if (request.url === '/tickets') return void response.end('[{"id":1},{"id":2}]');
      if (request.url === '/gzip')
        return void response.setHeader('content-encoding', 'gzip').end(gzipSync('packed'));
      const { authorization = '', 'x-own': own = '' } = request.headers;
      const body = Buffer.concat(chunks).toString();
      response.end(JSON.stringify({ authorization: authorization.length, own, body }));
    });
  });
  const domains = { [upstream.authority]: { grant: 'desk' }, 'tunnel.acme.test': 'tunnel' };
  const service = await startService({ domains });
  await service.sidekey.grant([upstream.authority], { name: 'desk' });
  return { ...service, url: service.url, upstream };
}

/** Facts that a client tells of the story. */
const expected = (name: string) => ({
  me: 'operator',
  agents: [`${name}-a`, `${name}-b`, `${name}-c`],
  missing: ['not_found', 404, true, false],
  posted: [200, { authorization: 36, own: '1', body: '{"a": 1}' }],
  bytes: [255, 0, 254],
  gzip: 'packed',
  unnamed: ['input_invalid', 400, true, false],
  named: ['grant_missing', 403, true, false],
  refused: ['domain_not_allowed', 403, true, false],
  env: ['1', true],
  event: 'access',
  repr: false,
});

describe.skipIf(absent !== false)(`the Python clients${why}`, () => {
  test('call operations, list, fail, stream, and send requests: both in the same way', async () => {
    const service = await withTickets();
    const { sidekey, upstream } = service;
    const env = {
      UPSTREAM: `https://${upstream.authority}/`,
      TUNNELLED: 'https://tunnel.acme.test/',
      PROXY: sidekey.url,
    };
    const told = await linesOf(
      await startPython(service, ['test/integration/sdk/programs/story.py', 'story'], env),
    );
    expect(told).toEqual([expected('sync'), expected('async')]);
  });

  test('wait until the person has connected the account', async () => {
    const at = await startConnecting();
    const started = await startPython(at, ['test/integration/sdk/programs/story.py', 'connect']);
    for (let clients = 0; clients < 2; clients += 1) {
      const { value: link } = await started.lines.next();
      const browser = at.browser();
      await browser.open(await browser.consent(String(link)));
      const { value: line } = await started.lines.next();
      expect(JSON.parse(String(line))).toMatchObject({ provider: 'acme', user: 'alice' });
    }
    await started.done();
  });

  test('without a browser, or if requested, wait until the person has entered a code', async () => {
    const at = await startDevice();
    const started = await startPython(at, ['test/integration/sdk/programs/story.py', 'device']);
    for (let connections = 0; connections < 4; connections += 1) {
      const { value: code } = await started.lines.next();
      await at.server.approve(String(code));
      const { value: line } = await started.lines.next();
      expect(JSON.parse(String(line))).toMatchObject({ provider: 'desk', user: 'alice' });
    }
    await started.done();
  });

  test('forward an exception of the function that shows the code, and start nothing else', async () => {
    const at = await startDevice();
    const program = `
import sidekey
def fail(_): raise sidekey.SidekeyError("no screen", code="provider_refused")
try:
    sidekey.Sidekey().connect("desk", "alice", on_code=fail)
except sidekey.SidekeyError as error:
    print('"' + str(error) + '"')`;
    expect(await linesOf(await startPython(at, ['-c', program]))).toEqual(['no screen']);
  });

  test('print the address if the provider has no device flow', async () => {
    const at = await startConnecting();
    const program = `
import sidekey
class Stop(Exception): pass
def stop(**_): raise Stop
client = sidekey.Sidekey()
client.get_connect_session = stop
try:
    client.connect("acme", "alice")
except Stop:
    print('"stopped"')
try:
    client.connect("acme", "alice", device=True)
except sidekey.SidekeyError as error:
    print('"' + error.code + '"')`;
    const started = await startPython(at, ['-c', program]);
    expect(await linesOf(started)).toEqual(['stopped', 'config_invalid']);
    expect(await started.complaints).toContain(`${at.url}/connect/cs_`);
  });

  test('are refused without a valid key or address, and to another machine without TLS', async () => {
    const service = await startService();
    const program = `
import json, sidekey
seen = []
hosts = ("http://10.0.0.1", "http://sidekey.example.com", "http://a:secret@127.0.0.1", "http://127.0.0.1?secret")
keys = ({"api_key": "secret\\n"}, {"api_key": "secret’"})
for arguments in ({}, *({"base_url": host} for host in hosts), *keys):
    for client in (sidekey.Sidekey, sidekey.AsyncSidekey):
        try:
            client(**arguments)
        except sidekey.SidekeyError as error:
            seen.append(error.code if "secret" not in str(error) else str(error))
sidekey.Sidekey("http://10.0.0.1", "sk_1", allow_plain_http=True)
print(json.dumps(seen))`;
    const [seen] = await linesOf(await startPython(service, ['-c', program], { SIDEKEY_API_KEY: '' }));
    expect(seen).toHaveLength(14);
    const [others] = await linesOf(await startPython(service, ['-c', program]));
    expect(others).toEqual(Array.from({ length: 12 }, () => 'input_invalid'));
  });

  test('use the login of "sidekey login" only at the address of that login', async () => {
    const { key, url } = await startService();
    const folder = await tempFolder();
    await mkdir(join(folder, 'config'));
    const login = { url, key: await key({ role: 'auditor' }), expires_at: '2040-01-01T00:00:00Z' };
    await writeFile(join(folder, 'config', 'login.json'), JSON.stringify(login));
    const env = { SIDEKEY_HOME: folder, SIDEKEY_API_KEY: '', SIDEKEY_API_URL: '' };
    const code = `import json, os, sidekey
print(json.dumps(sidekey.Sidekey().get_me()["role"]))
try:
    sidekey.Sidekey("https://other.example")
except sidekey.SidekeyError as error:
    print(json.dumps(str(error)))
# Below the working folder, it could be a file of a repository.
os.environ["SIDEKEY_HOME"] = os.path.relpath(os.environ["SIDEKEY_HOME"])
try:
    sidekey.Sidekey()
except sidekey.SidekeyError as error:
    print(json.dumps(str(error)))`;
    const told = await linesOf(await startPython({ url, key }, ['-c', code], env));
    const refused: unknown = expect.stringContaining('has no API key');
    expect(told).toEqual(['auditor', refused, refused]);
  });

  test('run the notebook', async () => {
    const service = await withTickets();
    const args = ['test/integration/sdk/programs/notebook.py', 'examples/sdk/python/notebook.ipynb'];
    const env = { TICKETS_URL: `https://${service.upstream.authority}/tickets` };
    expect(await linesOf(await startPython(service, args, env))).toEqual([2]);
  });

  test('offer a model tool that sends requests as its agent, and returns the reason of a refusal', async () => {
    const service = await withTickets();
    await service.call('POST /v2/agents', { body: { name: 'helper', grants: ['desk'] } });
    const program = `
import json, os
from http_tool import HttpTool
from sidekey import Sidekey
tool = HttpTool(Sidekey(), agent="helper")
print(json.dumps(tool.invoke({"method": "GET", "url": os.environ["TICKETS_URL"], "reason": "report"})))
print(json.dumps(tool.invoke({"method": "GET", "url": "https://other.example.com/", "reason": "report"})))`;
    const env = { TICKETS_URL: `https://${service.upstream.authority}/tickets` };
    const [answer, refused] = await linesOf(await startPython(service, ['-c', program], env));
    expect(answer).toBe('200\n[{"id":1},{"id":2}]');
    expect(refused).toMatch(/^Refused \(domain_not_allowed\): .*sidekey domain/);
    expect((await service.sidekey.audit()).find(({ event }) => event === 'access')).toMatchObject({
      agent: 'helper',
      reason: 'report',
    });
  });
});
