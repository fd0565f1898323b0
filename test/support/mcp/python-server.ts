import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { python } from '../aws/python.ts';
import { startUpstream } from '../upstream.ts';

/** The reason why the MCP server of the Python SDK cannot run here; false: it can. */
export const pythonMcpMissing = await new Promise<string | false>((resolve) => {
  execFile(python, ['-I', '-c', 'import mcp.server.fastmcp, uvicorn'], (error) =>
    resolve(error === null ? false : 'Python has no package mcp: pip install mcp'),
  );
});

/**
 * Starts an MCP server of the Python SDK at `/mcp`, with its own authorization, behind a server that ends
 * TLS.
 */
export async function startPythonMcp() {
  const port = Promise.withResolvers<number>();
  const upstream = await startUpstream((request, response) => {
    void port.promise.then((to) => {
      const { method, url: path, headers } = request;
      const inner = httpRequest({ host: '127.0.0.1', port: to, method, path, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      inner.on('error', () => response.destroy());
      request.pipe(inner);
    });
  });
  const child = spawn(python, ['-I', join(import.meta.dirname, 'server.py'), upstream.url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(async () => {
    if (child.exitCode === null && child.kill('SIGKILL')) await once(child, 'exit');
  });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  port.resolve(Number(line));
  return { upstream };
}
