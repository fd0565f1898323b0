import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, path } from './api.ts';
import { Badge, Choice, Field, Form, Loaded, Table } from './parts.tsx';
import { WayOut } from './remedy.tsx';
import { useResource } from './resource.ts';
import type { Explanation, Operations } from '../sdk/client/operations.ts';

/** Decisions of the rules of a draft: on one request, on tests, and on the requests of the log. */

/** The draft as a member of the input. */
interface Given {
  readonly text?: string;
}

interface TrialProps<T> {
  readonly title: string;
  readonly label: string;
  /** Method and path. */
  readonly what: string;
  readonly given: Given;
  /** Fields of the question. */
  readonly children?: ComponentChildren;
  readonly sentence: (found: T) => ComponentChildren;
  readonly caption: string;
  readonly headings: readonly string[];
  readonly rows: (found: T) => readonly (readonly ComponentChildren[])[];
}

/** A question about the rules. It is asked again whenever the draft changes. */
function Trial<T>({
  title,
  label,
  what,
  given,
  children,
  sentence,
  rows,
  ...table
}: TrialProps<T>): JSX.Element {
  const [question, ask] = useState<object | null>(null);
  const answer = useResource(
    async (signal) => (question === null ? null : call<T>(what, { ...question, ...given }, signal)),
    [question, given.text],
  );
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <Form label={label} keep submit={ask}>
        {children}
      </Form>
      <Loaded of={answer} skeleton={0}>
        {(found) =>
          found && (
            <div role="status">
              {sentence(found)}
              <Table {...table} rows={rows(found)} />
            </div>
          )
        }
      </Loaded>
    </section>
  );
}

/** @param props with the host that is edited */
export function Explain({ host = '', given }: { host: string | undefined; given: Given }): JSX.Element {
  return (
    <Trial<Explanation>
      title="What would happen to a request?"
      label="Explain"
      what="POST /v2/explain"
      given={given}
      sentence={({ allowed, held, outcome, message, hint = null, remedies = [] }) => (
        <>
          <p>
            <Badge state={allowed ? 'allow' : held ? 'approve' : 'deny'} /> {message ?? outcome}
          </p>
          <WayOut hint={hint} remedies={remedies} />
        </>
      )}
      caption="Steps"
      headings={['Result', 'Step', 'Finding']}
      rows={({ steps }) => steps.map(({ step, ok, text }) => [ok ? '✓' : '✗', step, text])}
    >
      <Choice label="Method" name="method" options={['GET', 'POST', 'PUT', 'PATCH', 'DELETE']} chosen="GET" />
      <Field
        label="Address"
        name="url"
        type="url"
        required
        defaultValue={host && `https://${host.replace('*', 'any')}/`}
        placeholder="https://api.example.com/users"
      />
      <Field label="Agent" name="agent" placeholder="a caller without a token" />
    </Trial>
  );
}

interface Tested {
  readonly passed: number;
  readonly failed: number;
  readonly cases: readonly {
    readonly request: string;
    readonly passed: boolean;
    readonly expected: { readonly outcome: string };
    readonly got: { readonly outcome: string; readonly rule: string };
  }[];
}

export function Tests({ given }: { readonly given: Given }): JSX.Element {
  return (
    <Trial<Tested>
      title="Tests of the rules"
      label="Run the tests"
      what="POST /v2/config/test"
      given={given}
      sentence={({ passed, failed }) => (
        <p>
          {failed === 0 ? `All ${passed} as expected.` : `${failed} of ${passed + failed} not as expected.`}
        </p>
      )}
      caption="Tests"
      headings={['Result', 'Request', 'Expected', 'Got', 'Rule']}
      rows={({ cases }) =>
        cases.map(({ passed, request, expected, got }) => [
          passed ? '✓' : '✗',
          request,
          expected.outcome,
          got.outcome,
          got.rule,
        ])
      }
    >
      <label style={{ width: '100%' }}>
        <span>Requests and what each must get, as YAML</span>
        <textarea
          name="cases"
          rows={4}
          required
          spellcheck={false}
          placeholder={'- request: GET https://api.example.com/user\n  expect: allow'}
        />
      </label>
    </Trial>
  );
}

export function Replay({ given }: { readonly given: Given }): JSX.Element {
  return (
    <Trial<Awaited<ReturnType<Operations['replayConfig']>>>
      title="What would the last 7 days have got?"
      label="Compare with the log"
      what="POST /v2/config/replay"
      given={given}
      sentence={({ requests, changed, unknown, complete }) => (
        <p>
          {`${changed} of ${requests} requests would get another answer.`}
          {unknown > 0 && ` ${unknown} depend on a query, a body or labels, which the log does not have.`}
          {!complete && ' The log is long: its oldest part was left out.'}
        </p>
      )}
      caption="Requests that would get another answer"
      headings={['Agent', 'Request', 'Now', 'Then', 'Requests']}
      rows={({ groups }) =>
        groups.map(({ agent, method, host, path: target, before, after, count, sample }) => [
          agent ?? '–',
          `${method} ${host}${target}`,
          <Badge state={before} />,
          <Badge state={after} />,
          sample === null ? count : <a href={path`#audit/${sample}`}>{count}</a>,
        ])
      }
    />
  );
}
