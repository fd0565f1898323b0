import fetch from 'node-fetch';
console.log(await (await fetch(process.argv[2])).text());
