import { SidekeyError } from '../../errors.ts';
import { checkedRegion } from '../../grants/credential-shape.ts';
import { firstToken } from './first-token.ts';
import type { Obtain } from './flow.ts';
import { askedParts, keysIn } from './token.ts';

/** IAM, "IAM identifiers": the role's name has a path before it. */
const arn = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;

/** `connect aws --assume-role ARN`: keys of a role, by keys that are pasted; new ones are asked for before they end. */
export const obtainByAwsRole: Obtain = async (request) => {
  const { assumeRole: roleArn, externalId, region } = request.options;
  if (roleArn === undefined) {
    throw new SidekeyError('input_invalid', 'Which role?', {
      hint: `sidekey connect ${request.provider.name} --assume-role ARN, or --token for the key of a user`,
    });
  }
  if (!arn.test(roleArn)) {
    throw new SidekeyError('input_invalid', '--assume-role is no ARN of a role.', {
      hint: '--assume-role arn:aws:iam::123456789012:role/NAME',
    });
  }
  if (externalId !== undefined && !/^[\w+=,.@:/-]{2,1224}$/.test(externalId)) {
    throw new SidekeyError('input_invalid', '--external-id is none that AWS takes.', {
      hint: '2 to 1224 letters, digits and +=,.@:/-',
    });
  }
  return firstToken(request, {
    kind: 'aws_role',
    keys: keysIn(await askedParts(request)),
    roleArn,
    // The trail of AWS shows it beside the role.
    sessionName: 'sidekey',
    externalId: externalId ?? null,
    durationSeconds: null,
    region: region === undefined ? null : checkedRegion(region),
  });
};
