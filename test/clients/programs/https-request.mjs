// node:https, as older libraries use it
import https from 'node:https';
https.get(process.argv[2], (response) => response.pipe(process.stdout));
