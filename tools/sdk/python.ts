import { failures } from '../../src/lib/failures.ts';
import { type Api, membersOf, nameOf, type Operation, type Schema } from './document.ts';

/** The generated part of the Python SDK. */

const scalars: Readonly<Record<string, string>> = {
  string: 'str',
  number: 'float',
  integer: 'int',
  boolean: 'bool',
  null: 'None',
};

/** Words that no class of Python can have as members, and no function as parameters. */
const keywords =
  /^(?:and|as|assert|async|await|class|def|del|for|from|global|if|import|in|is|not|or|pass|raise|return|try|while|with)$/;

/** Classes of the schemas that have no name of their own, by their name. */
type Classes = Map<string, string>;

/** @param name the name of the class, if the schema needs one */
function typeOf(schema: Schema, name: string, classes: Classes): string {
  const { $ref, enum: values, anyOf, oneOf = anyOf, type, items } = schema;
  if ($ref !== undefined) return nameOf($ref);
  if ('const' in schema) return literal([schema.const]);
  if (values !== undefined) return literal(values);
  if (oneOf !== undefined)
    return union(oneOf.map((each, index) => typeOf(each, `${name}${index + 1}`, classes)));
  if (Array.isArray(type))
    return union(type.map((each: string) => typeOf({ ...schema, type: each }, name, classes)));
  if (type === 'array') return `list[${typeOf(items ?? {}, `${name}Item`, classes)}]`;
  if (type === 'object') return objectType(schema, name, classes);
  return scalars[String(type)] ?? 'Any';
}

function objectType(schema: Schema, name: string, classes: Classes): string {
  const { properties = {}, required = [], additionalProperties: more = true, description } = schema;
  const entries = Object.entries(properties);
  if (entries.length === 0)
    return `dict[str, ${typeof more === 'object' ? typeOf(more, `${name}Value`, classes) : 'Any'}]`;
  // Reserves the place before those of the members, which are resolved late.
  classes.set(name, '');
  const lines = entries.map(([member, each]) => ({
    member,
    type: typeOf(each, name + pascal(member), classes),
    isOptional: !required.includes(member),
  }));
  const optional = lines.filter((each) => each.isOptional);
  const others = lines.filter((each) => !each.isOptional);
  const isReserved = lines.some(({ member }) => keywords.test(member));
  if (isReserved && optional.length > 0) throw new Error(`${name}: optional beside a word of Python`);
  const text = (members: typeof lines) =>
    members.map(({ member, type }) => `    ${member}: ${type}\n`).join('');
  const items = lines.map(({ member, type }) => `    "${member}": "${type}",\n`).join('');
  const doc = description === undefined ? '' : `    """${description}"""\n\n`;
  // `NotRequired` needs Python 3.11, so a base class has the optional members.
  const [base, parent] =
    optional.length === 0
      ? ['', 'TypedDict']
      : [`class _${name}(TypedDict, total=False):\n${text(optional)}\n\n`, `_${name}`];
  classes.set(
    name,
    isReserved
      ? `${name} = TypedDict("${name}", {\n${items}})\n`
      : `${base}class ${name}(${parent}):\n${doc}${text(others) || '    pass\n'}`,
  );
  return name;
}

function literal(values: readonly unknown[]): string {
  const texts = values.map((each) =>
    each === true ? 'True' : each === false ? 'False' : each === null ? 'None' : JSON.stringify(each),
  );
  return `Literal[${texts.join(', ')}]`;
}

function union(types: readonly string[]): string {
  return [...new Set(types)].join(' | ');
}

function pascal(text: string): string {
  return text.replace(/(?:^|_)(\w)/g, (_all, letter: string) => letter.toUpperCase());
}

function snake(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Returns the method of an operation, for the synchronous client and for the asynchronous one. */
function methodsOf(
  operation: Operation,
  classes: Classes,
): { readonly sync: string; readonly async: string } {
  const { id, method, path, summary, inPath, inQuery, body, result, kind } = operation;
  const all = [...inPath, ...inQuery, ...(body === undefined ? [] : membersOf(body))];
  const parameters = all
    .toSorted((a, b) => Number(b.required) - Number(a.required))
    .map(({ name, schema, required }) => {
      if (keywords.test(name)) throw new Error(`${id}: "${name}" cannot be a parameter in Python`);
      const type = typeOf(schema, pascal(id) + pascal(name), classes);
      return `${name}: ${type}${required ? '' : ' = UNSET'}`;
    });
  const signature = ['self', ...(parameters.length === 0 ? [] : ['*', ...parameters])].join(', ');
  const type = result === undefined ? 'None' : typeOf(result, `${pascal(id)}Result`, classes);
  const given = all.map(({ name }) => `"${name}": ${name}`).join(', ');
  const call = `("${id}", {${given}})`;
  const doc = `        """${summary} \`\`${method} ${path}\`\`"""\n`;
  const head = `def ${snake(id)}(${signature})`;
  if (kind !== 'one') {
    const verb = kind === 'list' ? '_pages' : '_stream';
    return {
      sync: `    ${head} -> Iterator[${type}]:\n${doc}        return self.${verb}${call}\n`,
      async: `    ${head} -> AsyncIterator[${type}]:\n${doc}        return self.${verb}${call}\n`,
    };
  }
  return {
    sync: `    ${head} -> ${type}:\n${doc}        return self._call${call}\n`,
    async: `    async ${head} -> ${type}:\n${doc}        return await self._call${call}\n`,
  };
}

export function renderPython({ schemas, operations }: Api): string {
  const classes: Classes = new Map();
  const aliases: string[] = [];
  for (const [name, schema] of Object.entries(schemas)) {
    const type = typeOf(schema, name, classes);
    if (type !== name) aliases.push(`${name} = ${type}\n`);
  }
  const methods = operations.map((each) => methodsOf(each, classes));
  const rows = operations.map(({ id, method, path, inQuery }) => {
    const query = inQuery.map(({ name }) => `"${name}"`).join(', ');
    return `    "${id}": ("${method}", "${path}", [${query}]),\n`;
  });
  return `# Made by "npm run sdk" from the OpenAPI document.
# ruff: noqa: E501
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any, AsyncIterator, Iterator, Literal, TypedDict

#: Value of a parameter that is not sent.
UNSET: Any = object()


${[...classes.values()].join('\n\n')}${aliases.length === 0 ? '' : `\n\n${aliases.join('')}`}

#: Method, path and query of each operation.
OPERATIONS: dict[str, tuple[str, str, list[str]]] = {
${rows.join('')}}


class Operations:
    """Methods of the client, one for each operation of the API."""

    def _call(self, operation: str, given: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _pages(self, operation: str, given: dict[str, Any]) -> Iterator[Any]:
        raise NotImplementedError

    def _stream(self, operation: str, given: dict[str, Any]) -> Iterator[Any]:
        raise NotImplementedError

${methods.map(({ sync }) => sync).join('\n')}

class AsyncOperations:
    """Methods of the asynchronous client, one for each operation of the API."""

    async def _call(self, operation: str, given: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _pages(self, operation: str, given: dict[str, Any]) -> AsyncIterator[Any]:
        raise NotImplementedError

    def _stream(self, operation: str, given: dict[str, Any]) -> AsyncIterator[Any]:
        raise NotImplementedError

${methods.map((each) => each.async).join('\n')}`;
}

/** Failures that the clients add, by their code. */
const ofClients: Readonly<Record<string, string>> = {
  session_expired: 'Nobody connected an account in time.',
  timeout: 'Sidekey did not answer in time.',
  unexpected_answer: 'The answer is not from Sidekey.',
  unreachable: 'Sidekey does not answer.',
};

/** Returns the module with one class for each code. */
export function renderPythonErrors(): string {
  const all = Object.entries(failures).map(([code, { sentence }]) => [code, sentence] as const);
  const classes = [...all, ...Object.entries(ofClients)].map(
    ([code, sentence]) =>
      `class ${pascal(code)}Error(SidekeyError, code="${code}"):\n    """${sentence}"""\n`,
  );
  return `# Made by "npm run sdk" from the failures of docs/errors.md.
"""One class for each code of a failure."""

from .transport import SidekeyError

${classes.map((each) => `\n${each}`).join('\n')}`;
}

/** Words of the asynchronous client, with those of the synchronous client. */
const words: readonly (readonly [RegExp, string])[] = [
  [/^"""[^]*?"""\n/, '"""The synchronous client. Made by "npm run sdk" from async_client.py."""\n'],
  [/# sync: ?/g, ''],
  [/\b(?:async (?=def|for|with)|async(?=contextmanager)|Async(?=[A-Z])|await )/g, ''],
  [/\b(__)?a(?=(?:enter|exit|close|read|iter_lines)(?:__)?\()/g, '$1'],
  [/handle_async/g, 'handle'],
  [/\basyncio\b/g, 'time'],
];

/** Returns the synchronous client. @param text the asynchronous client */
export function renderPythonClient(text: string): string {
  return words.reduce((rest, [from, to]) => rest.replace(from, to), text);
}
