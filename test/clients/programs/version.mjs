// An axios, got, needle or undici by the name of its package: `axios-1-13`.
const [, , name, url] = process.argv;
const library = await import(name);

const text = {
  axios: async () => JSON.stringify((await library.default.get(url)).data),
  got: () => library.default(url, { retry: { limit: 0 } }).text(),
  needle: async () => JSON.stringify((await library.default('get', url)).body),
  undici: async () => {
    const dispatcher = new library.EnvHttpProxyAgent();
    return (await library.request(url, { dispatcher })).body.text();
  },
};
console.log(await text[name.replace(/-.*/, '')]());
