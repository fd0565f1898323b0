import { Octokit } from 'octokit';
const octokit = new Octokit({ baseUrl: process.argv[2], auth: process.env.GITHUB_TOKEN });
console.log((await octokit.rest.users.getAuthenticated()).data.login);
