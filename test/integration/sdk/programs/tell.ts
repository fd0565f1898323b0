/**
 * Tells the story as a program: prints the code for the person, and then the facts, each as a line of JSON.
 */
import { createClient } from '../../../../src/sdk/client/node.ts';
import { story } from './story.ts';

const print = (value: unknown) => console.log(JSON.stringify(value));
print(await story(createClient(), process.env['ACCOUNT_URL'] ?? '', (session) => print(session.user_code)));
