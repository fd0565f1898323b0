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
  operationRoute(listAgents, 'GET /v2/agents', { id: 'listAgents', list: 'name' }),
  operationRoute(getAgent, 'GET /v2/agents/{agent}', { id: 'getAgent', command: 'agent list' }),
  operationRoute(createAgent, 'POST /v2/agents', { id: 'createAgent', status: 201 }),
  operationRoute(changeAgent, 'PATCH /v2/agents/{agent}', { id: 'changeAgent', command: 'agent set' }),
  operationRoute(bindAgent, 'POST /v2/agents/{agent}/bind', { id: 'bindAgent' }),
  operationRoute(rotateAgent, 'POST /v2/agents/{agent}/rotate', { id: 'rotateAgent' }),
  operationRoute(removeAgent, 'DELETE /v2/agents/{agent}', { id: 'removeAgent' }),
];
