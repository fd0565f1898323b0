import { Readable } from 'node:stream';
import { gmail } from '@googleapis/gmail';
import { sidekey, tell, upstream } from './sidekey.mjs';

const rootUrl = `${upstream}/`;
const { users } = gmail({ version: 'v1', rootUrl, fetchImplementation: sidekey });
const { data: profile } = await users.getProfile({ userId: 'me' });
const media = { mimeType: 'message/rfc822', body: Readable.from(['Subject: é\r\n\r\n', 'hello']) };
const { data: sent } = await users.messages.send(
  { userId: 'me', requestBody: { threadId: 't' }, media },
  { rootUrl },
);
tell({ address: profile.emailAddress, sent: sent.id });
