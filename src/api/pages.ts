import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Hono } from 'hono';
import { commandName } from '../lib/command-name.ts';
import { markup } from '../lib/html.ts';
import { isExecutable, packageRoot, packageText } from '../lib/package-files.ts';

/**
 * The pages for browsers: one document, its style, its script, and the icons of providers. A package contains
 * them. A checkout bundles them at the first request, so it needs no build (decision 158).
 */

const isCheckout = !isExecutable && import.meta.url.endsWith('.ts');

const types: Readonly<Record<string, string>> = {
  css: 'text/css; charset=utf-8',
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  json: 'application/json',
};

/** Loads only own files, turns no text into markup or script, and forbids frames. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

/** Files by name, once one was requested. */
let files: Promise<ReadonlyMap<string, string>> | undefined;

/** Reads the files of a package, or bundles those of a checkout. */
async function load(): Promise<ReadonlyMap<string, string>> {
  if (isCheckout) {
    // The name of the module is no literal: a package contains neither the module nor its libraries.
    const tool = pathToFileURL(join(packageRoot, 'tools/pages.ts')).href;
    const { bundlePages } = (await import(tool)) as {
      bundlePages: () => Promise<{ files: Map<string, string> }>;
    };
    return (await bundlePages()).files;
  }
  const names = ['index.html', 'style.css', 'app.js', 'icons.json'];
  return new Map(names.map((name) => [name, packageText(join(packageRoot, 'dist/pages', name))]));
}

async function fileOf(name: string): Promise<Response | null> {
  const file = (await (files ??= load())).get(name);
  if (file === undefined) return null;
  // The document names the command that runs this program. The script reads it there.
  const text = name === 'index.html' ? file.replaceAll('sidekey', () => markup`${commandName()}`.html) : file;
  const type = types[name.replace(/^.*\./, '')] ?? '';
  return new Response(text, { headers: { 'content-type': type, 'content-security-policy': policy } });
}

/** Paths of the document. Its script signs in, and stores the session for this origin. */
const paths = ['/', '/sign-in/oidc/callback', '/sign-in/:link'];

/** Adds the pages. They contain no personal data, and need no session. */
export function addPages(app: Pick<Hono, 'get' | 'notFound'>): void {
  for (const path of paths)
    app.get(path, async () => (await fileOf('index.html')) ?? new Response(null, { status: 404 }));
  app.get('/ui/:name', async (context) => (await fileOf(context.req.param('name'))) ?? context.notFound());
}
