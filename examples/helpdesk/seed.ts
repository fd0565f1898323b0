import type { Ticket } from './tickets.ts';

type SeedTicket = Omit<Ticket, 'id'>;

function ticket(
  created: string,
  [title, description]: readonly [string, string],
  [team, status, priority]: readonly [Ticket['team'], Ticket['status'], Ticket['priority']],
  [assignee, reporter]: readonly [string | null, string],
): SeedTicket {
  return {
    title,
    description,
    team,
    status,
    priority,
    assignee,
    reporter,
    created_at: created,
    updated_at: created,
  };
}

/** The twelve tickets of a new helpdesk, oldest first. */
export const seedTickets: readonly SeedTicket[] = [
  ticket(
    '2026-11-02T08:15:00.000Z',
    ['VPN drops every ten minutes', 'Since the weekend, from home only. Reconnecting helps for a while.'],
    ['it', 'open', 'high'],
    ['alice', 'bob'],
  ),
  ticket(
    '2026-11-02T09:40:00.000Z',
    ['New laptop for Dana', 'Starts on 16 November in design; needs 32 GB.'],
    ['it', 'pending', 'normal'],
    ['alice', 'carol'],
  ),
  ticket(
    '2026-11-03T07:55:00.000Z',
    ['Meeting room 3 is too warm', 'The thermostat says 26 °C and does not react.'],
    ['facilities', 'open', 'normal'],
    ['bob', 'alice'],
  ),
  ticket(
    '2026-11-03T13:20:00.000Z',
    ['Printer on floor 2 jams', 'Tray 2 only. Tray 1 works.'],
    ['it', 'solved', 'low'],
    ['alice', 'carol'],
  ),
  ticket(
    '2026-11-04T10:05:00.000Z',
    ['Parental leave from February', 'Which forms do I need, and by when?'],
    ['people', 'open', 'normal'],
    ['carol', 'bob'],
  ),
  ticket(
    '2026-11-05T15:30:00.000Z',
    ['Badge does not open the side door', 'The main door works.'],
    ['facilities', 'open', 'high'],
    [null, 'carol'],
  ),
  ticket(
    '2026-11-06T08:45:00.000Z',
    ['Shared mailbox for the launch', 'launch@acme.test, for marketing and sales.'],
    ['it', 'open', 'normal'],
    ['bob', 'carol'],
  ),
  ticket(
    '2026-11-09T09:10:00.000Z',
    ['Suspicious invoice by email', 'Sender looks like our supplier, the bank account does not. Not opened.'],
    ['it', 'open', 'urgent'],
    ['alice', 'bob'],
  ),
  ticket(
    '2026-11-10T11:25:00.000Z',
    ['Address on the payslip is old', 'I moved in September.'],
    ['people', 'solved', 'low'],
    ['carol', 'alice'],
  ),
  ticket(
    '2026-11-11T14:50:00.000Z',
    ['Bike rack is full by nine', 'Could we get a second one in the yard?'],
    ['facilities', 'pending', 'low'],
    ['bob', 'carol'],
  ),
  ticket(
    '2026-11-12T07:35:00.000Z',
    ['Access to the sales dashboard', 'Read only is enough.'],
    ['it', 'pending', 'normal'],
    [null, 'bob'],
  ),
  ticket(
    '2026-11-13T16:00:00.000Z',
    ['Training budget for next year', 'Does what is left move over?'],
    ['people', 'open', 'normal'],
    ['carol', 'alice'],
  ),
];
