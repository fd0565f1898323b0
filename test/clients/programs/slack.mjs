import { WebClient } from '@slack/web-api';
const client = new WebClient(process.env.SLACK_BOT_TOKEN, {
  slackApiUrl: process.argv[2],
  retryConfig: { retries: 0 },
});
console.log((await client.auth.test()).user);
