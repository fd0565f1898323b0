import { SidekeyError } from '../../lib/errors.ts';
import { etagOf, preconditionOf } from '../etag.ts';
import { callOperation, operationRoute } from '../operation-route.ts';
import { type AnyRoute, route } from '../route.ts';
import { requestRoutes } from './requests.ts';
import { exportCa, showCa } from '../../operations/ca.ts';
import { checkConfig, getConfig, getPaths, putConfig, testConfig } from '../../operations/config.ts';
import { replayConfig } from '../../operations/replay.ts';
import { getEnvironment } from '../../operations/environment.ts';
import { examineSetup } from '../../operations/doctor.ts';
import { healthStatus } from '../../operations/health.ts';
import { keyStatus, rotate } from '../../operations/key.ts';
import { listNodes, revokeNode } from '../../operations/node.ts';

/** Routes of the proxy itself: health, config, certificates, environment. */

const configRoutes: readonly AnyRoute[] = [
  operationRoute(getConfig, 'GET /v2/config', { id: 'getConfig', command: null }),
  route({
    method: 'put',
    path: '/v2/config',
    id: 'putConfig',
    tag: 'Config',
    summary: putConfig.summary,
    scope: putConfig.scope,
    body: putConfig.input.omit({ previous: true }),
    result: putConfig.output,
    commands: ['config edit'],
    async handle({ body, caller, ifMatch }, parts) {
      const before = await callOperation(getConfig, {}, caller, parts);
      if (ifMatch === undefined) throw new SidekeyError('precondition_required');
      preconditionOf(ifMatch, etagOf(before));
      return callOperation(putConfig, { ...body, previous: before.text }, caller, parts);
    },
  }),
  operationRoute(checkConfig, 'POST /v2/config/check', { id: 'checkConfig' }),
  operationRoute(testConfig, 'POST /v2/config/test', { id: 'testConfig', command: 'config check' }),
  operationRoute(replayConfig, 'POST /v2/config/replay', { id: 'replayConfig', isLong: true, command: null }),
  operationRoute(getPaths, 'GET /v2/config/paths', { id: 'getPaths', command: 'config path' }),
];

const healthRoutes: readonly AnyRoute[] = [
  operationRoute(keyStatus, 'GET /v2/key', { id: 'getKeys' }),
  operationRoute(rotate, 'POST /v2/key/rotate', { id: 'rotateKey', query: ['retire'] }),
  operationRoute(listNodes, 'GET /v2/nodes', { id: 'listNodes', list: 'name' }),
  operationRoute(revokeNode, 'DELETE /v2/nodes/{node}', { id: 'revokeNode' }),
  operationRoute(healthStatus, 'GET /v2/status', { id: 'getStatus', command: 'status' }),
  operationRoute(examineSetup, 'POST /v2/doctor', { id: 'runDoctor', command: 'doctor' }),
  operationRoute(showCa, 'GET /v2/ca', { id: 'getCa' }),
  operationRoute(exportCa, 'GET /v2/ca/certificate', { id: 'exportCa' }),
  operationRoute(getEnvironment, 'POST /v2/environment', { id: 'getEnvironment', command: 'env' }),
  ...requestRoutes,
];

export const systemRoutes: readonly AnyRoute[] = [...healthRoutes, ...configRoutes];
