/**
 * Tells the story as a program: prints the code for the person, the facts, and the bodies that arrived, each as a
 * line of JSON.
 */
import { createClient } from '../../../../src/sdk/client/node.ts';
import { bodies, sendBodies, streams } from './bodies.ts';
import { story } from './story.ts';

const print = (value: unknown) => console.log(JSON.stringify(value));
const client = createClient();
print(await story(client, process.env['ACCOUNT_URL'] ?? '', (session) => print(session.user_code)));
print(await sendBodies(client, process.env['ECHO_URL'] ?? '', [...bodies, ...streams]));
