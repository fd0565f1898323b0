import {
  bindAgent,
  changeAgent,
  createAgent,
  getAgent,
  listAgents,
  removeAgent,
  rotateAgent,
} from '../../operations/agent.ts';
import { operationRoute } from '../operation-route.ts';
import type { AnyRoute } from '../route.ts';

export const agentRoutes: readonly AnyRoute[] = [
  operationRoute(listAgents, 'GET /v2/agents', { id: 'listAgents', list: 'name', command: 'agent list' }),
  operationRoute(getAgent, 'GET /v2/agents/{agent}', { id: 'getAgent', command: 'agent list' }),
  operationRoute(createAgent, 'POST /v2/agents', { id: 'createAgent', status: 201, command: 'agent create' }),
  operationRoute(changeAgent, 'PATCH /v2/agents/{agent}', { id: 'changeAgent', command: 'agent set' }),
  operationRoute(bindAgent, 'POST /v2/agents/{agent}/bind', { id: 'bindAgent', command: 'agent bind' }),
  operationRoute(rotateAgent, 'POST /v2/agents/{agent}/rotate', {
    id: 'rotateAgent',
    command: 'agent rotate',
  }),
  operationRoute(removeAgent, 'DELETE /v2/agents/{agent}', { id: 'removeAgent', command: 'agent remove' }),
];
