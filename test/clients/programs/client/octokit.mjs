import { Octokit } from 'octokit';
import { sidekey, tell, upstream } from './sidekey.mjs';

const octokit = new Octokit({ baseUrl: upstream, request: { fetch: sidekey } });
const { data: user } = await octokit.rest.users.getAuthenticated();
const repository = { owner: 'acme', repo: 'tools' };
const issues = await octokit.paginate(octokit.rest.issues.listForRepo, repository);
const { status, data: comment } = await octokit.rest.issues.createComment({
  ...repository,
  issue_number: 1,
  body: 'é',
});
const missing = await octokit.rest.issues.get({ ...repository, issue_number: 9 }).catch((error) => error);
tell({
  login: user.login,
  issues: issues.map(({ number }) => number),
  comment: [status, comment.body],
  missing: [missing.name, missing.status],
});
