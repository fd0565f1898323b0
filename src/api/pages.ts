import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import type { Hono } from 'hono';
import { isExecutable, packageRoot, packageText } from '../lib/package-files.ts';

/**
 * The pages for browsers: one document, its style, and its modules. A checkout serves the sources with their
 * types stripped, so it needs no build. A package has the modules as one file.
 */

const isCheckout = !isExecutable && import.meta.url.endsWith('.ts');
const folder = join(packageRoot, isCheckout ? 'src/pages' : 'dist/pages');

const types: Readonly<Record<string, string>> = {
  css: 'text/css; charset=utf-8',
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  ts: 'text/javascript; charset=utf-8',
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

/** Cached files by name. */
const known = new Map<string, string>();

function fileOf(name: string): Response | null {
  // Only names of files in the folder, without a path.
  if (!/^[a-z-]+\.(?:css|html|js|ts)$/.test(name)) return null;
  let text = known.get(name);
  if (text === undefined) {
    const source = isCheckout ? name.replace(/\.js$/, '.ts') : name;
    try {
      text = packageText(join(folder, source));
    } catch {
      return null;
    }
    if (source.endsWith('.ts')) text = stripTypeScriptTypes(text);
    known.set(name, text);
  }
  const type = types[name.replace(/^.*\./, '')] ?? '';
  return new Response(text, { headers: { 'content-type': type, 'content-security-policy': policy } });
}

/** Paths of the document. Its script signs in, and stores the session for this origin. */
const paths = ['/', '/sign-in/oidc/callback', '/sign-in/:link'];

/** Adds the pages. They contain no personal data, and need no session. */
export function addPages(app: Pick<Hono, 'get' | 'notFound'>): void {
  for (const path of paths) app.get(path, () => fileOf('index.html') ?? new Response(null, { status: 404 }));
  app.get('/ui/:name', (context) => fileOf(context.req.param('name')) ?? context.notFound());
}
