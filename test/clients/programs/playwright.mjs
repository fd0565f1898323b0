import { request } from 'playwright-core';
const context = await request.newContext({ proxy: { server: process.env.HTTPS_PROXY } });
const response = await context.get(process.argv[2]);
console.log(await response.text());
await context.dispose();
