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

const tag = 'Agents';

export const agentRoutes: readonly AnyRoute[] = [
  operationRoute(listAgents, 'GET /v2/agents', {
    id: 'listAgents',
    tag,
    list: ({ name }: { readonly name: string }) => name,
    commands: ['agent list'],
  }),
  operationRoute(getAgent, 'GET /v2/agents/{agent}', { id: 'getAgent', tag, commands: ['agent list'] }),
  operationRoute(createAgent, 'POST /v2/agents', {
    id: 'createAgent',
    tag,
    status: 201,
    commands: ['agent create'],
  }),
  operationRoute(changeAgent, 'PATCH /v2/agents/{agent}', {
    id: 'changeAgent',
    tag,
    commands: ['agent set'],
  }),
  operationRoute(bindAgent, 'POST /v2/agents/{agent}/bind', {
    id: 'bindAgent',
    tag,
    commands: ['agent bind'],
  }),
  operationRoute(rotateAgent, 'POST /v2/agents/{agent}/rotate', {
    id: 'rotateAgent',
    tag,
    commands: ['agent rotate'],
  }),
  operationRoute(removeAgent, 'DELETE /v2/agents/{agent}', {
    id: 'removeAgent',
    tag,
    commands: ['agent remove'],
  }),
];
