import {
  acceptProposal,
  acceptProposalForGood,
  declineProposal,
  getProposal,
  listProposals,
} from '../../operations/proposal.ts';
import { operationRoute } from '../operation-route.ts';
import type { AnyRoute } from '../route.ts';

export const proposalRoutes: readonly AnyRoute[] = [
  operationRoute(listProposals, 'GET /v2/proposals', { id: 'listProposals', list: 'id' }),
  operationRoute(getProposal, 'GET /v2/proposals/{proposal}', {
    id: 'getProposal',
    command: 'proposal show',
  }),
  operationRoute(acceptProposal, 'POST /v2/proposals/{proposal}/accept', { id: 'acceptProposal' }),
  operationRoute(acceptProposalForGood, 'POST /v2/proposals/{proposal}/accept-for-good', {
    id: 'acceptProposalForGood',
    command: 'proposal accept',
  }),
  operationRoute(declineProposal, 'POST /v2/proposals/{proposal}/decline', { id: 'declineProposal' }),
];
