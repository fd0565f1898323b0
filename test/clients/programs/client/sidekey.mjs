// The `fetch` under test, and the address that the program of a library calls with it.
const { createClient } = await import(process.env.SIDEKEY_CLIENT);

export const sidekey = createClient().fetch({ grant: 'desk', reason: 'ticket 7' });
export const upstream = process.env.UPSTREAM;
export const tell = (facts) => console.log(JSON.stringify(facts));
