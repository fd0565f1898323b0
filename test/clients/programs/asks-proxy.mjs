// A library that goes by HTTPS_PROXY itself asks the proxy in absolute-form, as needle does.
import { get } from 'node:http';

const proxy = new URL(process.env.HTTPS_PROXY);
const login = Buffer.from(`${proxy.username}:${proxy.password}`).toString('base64');
const headers = { host: new URL(process.argv[2]).host, 'proxy-authorization': `Basic ${login}` };
get(
  { hostname: proxy.hostname, port: proxy.port, path: process.argv[2], headers },
  (response) => void response.pipe(process.stdout),
);
