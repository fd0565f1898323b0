import { ConnectButton } from '@sidekey/connect/react';
import { StrictMode, useCallback, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';

interface Account {
  readonly name: string;
  readonly state: string;
}

interface Ticket {
  readonly id: number;
  readonly title: string;
}

/** Calls the server of the application. */
async function call<Answer>(method: string, path: string): Promise<Answer> {
  const response = await fetch(`/api/${path}`, { method });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.message}`);
  return answer;
}

const beginSession = async () => {
  const { sessionToken } = await call<{ sessionToken: string }>('POST', 'sessions');
  return sessionToken;
};

function Tickets({ sidekey }: { readonly sidekey: string }) {
  const [accounts, setAccounts] = useState<readonly Account[]>([]);
  const [tickets, setTickets] = useState<readonly Ticket[]>([]);
  const [status, setStatus] = useState('');
  const fail = ({ message }: Error) => setStatus(message);
  const list = useCallback(() => {
    call<readonly Account[]>('GET', 'accounts').then(setAccounts, fail);
  }, []);
  useEffect(list, [list]);
  const show = async () => {
    setTickets([]);
    const answer = await call<{ tickets: readonly Ticket[] }>('GET', 'tickets');
    setTickets(answer.tickets);
    setStatus(`${answer.tickets.length} tickets`);
  };
  return (
    <>
      <h1>Tickets</h1>
      <h2>Accounts</h2>
      {accounts.length === 0 && <p>No account is connected.</p>}
      <ul>
        {accounts.map(({ name, state }) => (
          <li key={name}>
            {name} is {state}
          </li>
        ))}
      </ul>
      <ConnectButton
        id="connect"
        sessionToken={beginSession}
        baseUrl={sidekey}
        onSuccess={list}
        onError={({ detail }) => setStatus(detail)}
        onExit={list}
      >
        Connect Acme
      </ConnectButton>
      <button id="call" onClick={() => void show().catch(fail).then(list)}>
        Show my tickets
      </button>
      <a href={`${sidekey}/#wallet`}>End the connection in your wallet</a>
      <p role="status">{status}</p>
      <ul>
        {tickets.map(({ id, title }) => (
          <li key={id}>{title}</li>
        ))}
      </ul>
    </>
  );
}

const { sidekey } = await call<{ sidekey: string }>('POST', 'sign-in');
createRoot(document.querySelector('main')!).render(
  <StrictMode>
    <Tickets sidekey={sidekey} />
  </StrictMode>,
);
