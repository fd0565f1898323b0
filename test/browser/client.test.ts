import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { arrived, bodies } from '../integration/sdk/programs/bodies.ts';
import { facts } from '../integration/sdk/programs/story.ts';
import { startEcho } from '../support/body-echo.ts';
import { browserProgram, findChromium } from '../support/chromium.ts';
import { startDevice } from '../support/device-session.ts';

const chromium = await findChromium();
const why = chromium === null ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : '';
const root = new URL('../../', import.meta.url);

/** Starts a server of a page and of the client, with Sidekey's API below the same origin. */
async function startSite(api: string): Promise<string> {
  const server = createServer((asked, response) => {
    const path = asked.url ?? '';
    if (path === '/') {
      response.setHeader('content-type', 'text/html').end('<!doctype html><title>App</title><p>The page');
    } else if (path.endsWith('.ts')) {
      const file = readFile(new URL(`.${path}`, root), 'utf8');
      response.setHeader('content-type', 'text/javascript');
      void file.then((source) => response.end(stripTypeScriptTypes(source)));
    } else {
      const headers = { ...asked.headers, host: new URL(api).host };
      const passed = request(api + path, { method: asked.method ?? '', headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      response.once('close', () => passed.destroy());
      asked.pipe(passed);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function inPage() {
  const at = await startDevice();
  const origin = await startSite(at.url);
  const { program, page } = await browserProgram(chromium ?? '', []);
  const started = spawn(program, [`${origin}/`], { stdio: 'ignore' });
  onTestFinished(() => void started.kill('SIGKILL'));
  const shown = await page();
  await shown.shows('The page');
  return { at, origin, page: shown };
}

const test = it.skipIf(chromium === null);

describe(`the API client in a browser page${why}`, { timeout: 60_000 }, () => {
  test('of the same origin calls, lists, reports errors, streams and connects', async () => {
    const { at, origin, page } = await inPage();
    const options = JSON.stringify({ baseUrl: origin, apiKey: await at.key() });
    await page.evaluate(`
      globalThis.told = (async () => {
        const { createClient } = await import('/src/sdk/client/client.ts');
        const { story } = await import('/test/integration/sdk/programs/story.ts');
        const show = ({ user_code: code }) => document.body.append(code + '.');
        return story(createClient(${options}), '${at.server.issuer}/me', show);
      })(); 0`);
    const [code = ''] = /[A-Z]{4}-[A-Z]{4}(?=\.)/.exec(await page.shows('-')) ?? [];
    await at.server.approve(code);
    expect(await page.evaluate('told')).toEqual(facts);
  });

  test('of the same origin sends each kind of body', async () => {
    const { at, origin, page } = await inPage();
    const options = JSON.stringify({ baseUrl: origin, apiKey: await at.key() });
    const received = await page.evaluate(`(async () => {
      const { createClient } = await import('/src/sdk/client/client.ts');
      const { bodies, sendBodies } = await import('/test/integration/sdk/programs/bodies.ts');
      return sendBodies(createClient(${options}), '${await startEcho()}', bodies);
    })()`);
    expect(received).toEqual(arrived(bodies));
  });

  test('of another origin cannot read a response, even with a valid key', async () => {
    const { at, page } = await inPage();
    const options = JSON.stringify({ baseUrl: at.url, apiKey: await at.key() });
    const told = await page.evaluate(`(async () => {
      const { createClient } = await import('/src/sdk/client/client.ts');
      return createClient(${options}).createAgent({ name: 'planted' }).catch(({ code }) => code);
    })()`);
    expect(told).toBe('unreachable');
    expect((await at.call('GET /v2/agents')).body.data).toEqual([]);
  });
});
