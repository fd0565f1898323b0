import { google } from 'googleapis';
import { sidekey, tell, upstream } from './sidekey.mjs';

const rootUrl = `${upstream}/`;
google.options({ rootUrl, fetchImplementation: sidekey });
const { data: about } = await google.drive('v3').about.get({ fields: 'user' });
const { data: events } = await google.calendar('v3').events.list({ calendarId: 'primary' });
tell({ user: about.user.displayName, events: events.items.map(({ summary }) => summary) });
