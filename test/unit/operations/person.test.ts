/** Members of an input that only a person at the machine may give. */
import { expect, test } from 'vitest';
import { routes } from '../../../src/api/routes.ts';
import { changePerson } from '../../../src/operations/person.ts';

test('the API does not link an account to a person: the owner of the account would become that person', () => {
  const { body } = routes.find(({ id }) => id === 'changePerson')!;
  expect(changePerson.input.safeParse({ person: 'alice', subject: '2' }).success).toBe(true);
  expect(body?.safeParse({ subject: '2' }).success).toBe(false);
  expect(body?.safeParse({ disabled: true }).success).toBe(true);
});
