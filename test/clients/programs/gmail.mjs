import { auth, gmail } from '@googleapis/gmail';
const client = new auth.OAuth2();
client.setCredentials({ access_token: 'placeholder' });
const { data } = await gmail({ version: 'v1', auth: client, rootUrl: process.argv[2] }).users.getProfile({
  userId: 'me',
});
console.log(data.emailAddress);
