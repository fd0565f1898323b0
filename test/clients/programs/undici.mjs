import { EnvHttpProxyAgent, request, setGlobalDispatcher } from 'undici';
setGlobalDispatcher(new EnvHttpProxyAgent());
console.log(await (await request(process.argv[2])).body.text());
