// fetch as it comes with Node.js
console.log(await (await fetch(process.argv[2])).text());
