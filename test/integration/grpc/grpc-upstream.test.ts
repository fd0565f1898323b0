import { describe } from 'vitest';
import { testGrpcBehaviour } from '../../support/grpc-behaviour.ts';
import { startWords, wordsClient } from '../../support/grpc.ts';
import { http2Edge } from '../../support/http2-edge.ts';
import { company, createUpstreams } from '../../support/http2-upstream.ts';

describe('connections to gRPC upstreams', () => {
  testGrpcBehaviour(async () => {
    const server = await startWords(company.issue(['api.example']));
    const authority = { scheme: 'https', host: 'api.example', port: server.port } as const;
    const edge = await http2Edge(authority, createUpstreams());
    return { server, client: wordsClient(`127.0.0.1:${edge.port}`) };
  });
});
