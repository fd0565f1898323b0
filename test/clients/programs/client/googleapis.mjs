import { google } from 'googleapis';
import { sidekey, tell, upstream } from './sidekey.mjs';

// A constructor removes the version.
const options = () => ({ version: 'v3', rootUrl: `${upstream}/`, fetchImplementation: sidekey });
const { data: about } = await google.drive(options()).about.get({ fields: 'user' });
const { data: events } = await google.calendar(options()).events.list({ calendarId: 'primary' });
tell({ user: about.user.displayName, events: events.items.map(({ summary }) => summary) });
