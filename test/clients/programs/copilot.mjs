// Gets a session token and uses it as the clients of Copilot do.
const [, , base] = process.argv;
const answer = await fetch(`${base}/copilot_internal/v2/token`, {
  headers: { Authorization: `token ${process.env.GITHUB_TOKEN}`, 'Editor-Version': 'Test/1.0' },
});
const { token, expires_at: expiresAt, refresh_in: refreshIn, endpoints } = await answer.json();
const [, end] = /(?:^|;)exp=([^;:]+)/.exec(token);
const [, host] = /(?:^|;)proxy-ep=([^;]+)/.exec(token);
if (Number(end) !== expiresAt || !Number.isInteger(refreshIn)) throw new Error('the token has no end');
if (endpoints.api !== `https://${host.replace(/^proxy\./, 'api.')}`) throw new Error('the token has no host');
const said = await fetch(`${base}/chat/completions`, {
  method: 'POST',
  headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
  body: JSON.stringify({ messages: [{ role: 'user', content: 'hello' }] }),
});
console.log(JSON.stringify({ token, said: await said.json() }));
