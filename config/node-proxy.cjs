// Makes versions of Node.js that ignore the proxy variables use them, and in later versions the agents that
// programs create. `NODE_OPTIONS` loads this file into every Node.js, so the syntax is that of old versions.
// Without `NODE_USE_ENV_PROXY=1`, the file does nothing.
'use strict';

(() => {
  const { env, versions } = process;
  const [major, minor] = versions.node.split('.').map(Number);
  const readsVariables = major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
  if (env.NODE_USE_ENV_PROXY !== '1' || versions.bun || versions.deno) return;
  const http = require('http');
  const https = require('https');
  if (readsVariables) {
    // Only the global agents read the variables, and the SDK of AWS creates others.
    for (const each of [http, https]) {
      const Agent = new Proxy(each.Agent, {
        // A subclass may implement a proxy itself.
        construct: (target, [options], made) =>
          Reflect.construct(
            target,
            [made === Agent ? Object.assign({ proxyEnv: env }, options) : options],
            made,
          ),
      });
      each.Agent = Agent;
    }
    require('module').syncBuiltinESMExports();
    return;
  }
  const net = require('net');
  const tls = require('tls');

  /**
   * Returns the URL of the proxy for a host; null: the host is called directly. Reads entries as the
   * `EnvHttpProxyAgent` of undici 8 does: CIDR blocks match nothing, and `*.x` does not match `x`. Like http
   * of Node.js 24, it also accepts `*` among other entries.
   */
  function proxyOf(isTls, host, port) {
    const entries = (env.no_proxy || env.NO_PROXY || '').toLowerCase().split(/[\s,]+/);
    const name = host.toLowerCase().replace(/\.$/, '');
    const isDirect = entries.some((entry) => {
      const [, text, only] = net.isIPv6(entry) ? [entry, entry] : /^(.*?)(?::(\d+))?$/.exec(entry);
      const end = text.replace(/^\[(.*)\]$|^\*?\.|\.$/g, '$1');
      if (end === '' || (only !== undefined && Number(only) !== port)) return false;
      return end === '*' || (name === end && text[0] !== '*') || name.endsWith(`.${end}`);
    });
    const url = isTls ? env.https_proxy || env.HTTPS_PROXY : env.http_proxy || env.HTTP_PROXY;
    return isDirect || !url ? null : new URL(url.includes('://') ? url : `http://${url}`);
  }

  /** Decodes the user information of a URL to bytes. A `%` without two hexadecimal digits stays. */
  function decodePercent(text) {
    const bytes = text.replace(/%([0-9a-f]{2})/gi, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
    return Buffer.from(bytes, 'latin1');
  }

  /** Opens a tunnel to a host. */
  function tunnel(proxy, host, port, done) {
    const target = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
    const login = decodePercent(`${proxy.username}:${proxy.password}`);
    const headers = { host: target };
    if (login.length > 1) headers['proxy-authorization'] = `Basic ${login.toString('base64')}`;
    const { request } = proxy.protocol === 'https:' ? https : http;
    const place = { host: proxy.hostname.replace(/^\[|\]$/g, ''), port: proxy.port };
    request(Object.assign(place, { method: 'CONNECT', path: target, headers, agent: false }))
      .once('connect', ({ statusCode }, socket, head) => {
        if (statusCode === 200) {
          if (head.length > 0) socket.unshift(head);
          return done(null, socket);
        }
        socket.destroy();
        done(new Error(`The proxy refused a tunnel to ${target} (${statusCode}).`));
      })
      .once('error', done)
      .end();
  }

  /** Makes a TLS connection, over a socket if there is one, and returns it when the handshake is done. */
  function secure(options, done) {
    const socket = tls.connect(options);
    socket.once('error', done).once('secureConnect', () => {
      socket.removeListener('error', done);
      done(null, socket);
    });
  }

  /** Connects through the proxy, as `createConnection` of an agent does. */
  function connectThrough(proxy, isTls, options, done) {
    tunnel(proxy, options.host, options.port, (error, socket) => {
      if (error || !isTls) return done(error, socket);
      const servername = options.servername || (net.isIP(options.host) ? '' : options.host);
      secure(Object.assign({}, options, { socket, servername, path: undefined }), done);
    });
  }

  for (const { globalAgent } of [http, https]) {
    const isTls = globalAgent === https.globalAgent;
    const createConnection = globalAgent.createConnection.bind(globalAgent);
    globalAgent.createConnection = (options, done) => {
      const proxy = options.socketPath ? null : proxyOf(isTls, options.host, Number(options.port));
      if (proxy === null) return createConnection(options, done);
      connectThrough(proxy, isTls, options, done);
    };
  }

  /** The `connect` of an undici agent. */
  function connectFetch({ protocol, hostname, port, servername }, done) {
    const isTls = protocol === 'https:';
    const host = hostname.replace(/^\[|\]$/g, '');
    const options = { host, port: Number(port) || (isTls ? 443 : 80), ALPNProtocols: ['http/1.1'] };
    if (servername) options.servername = servername;
    const proxy = proxyOf(isTls, host, options.port);
    if (proxy !== null) connectThrough(proxy, isTls, options, done);
    else if (isTls) secure(options, done);
    else {
      const socket = net.connect(options);
      socket.once('error', done).once('connect', () => {
        socket.removeListener('error', done);
        done(null, socket);
      });
    }
  }

  // `fetch` and `WebSocket` load undici, whose `Agent` is reached only through its global dispatcher.
  if (major === 24 || !globalThis.fetch) return;
  const key = Symbol.for('undici.globalDispatcher.1');
  let isSet = false;
  function setDispatcher() {
    if (isSet) return;
    isSet = true;
    void globalThis.Headers;
    const agent = globalThis[key];
    // A program has chosen another one, such as a MockAgent.
    if (!agent || agent.constructor.name !== 'Agent') return;
    const kept = Object.getOwnPropertySymbols(agent).find(({ description }) => description === 'options');
    globalThis[key] = new agent.constructor(Object.assign({}, agent[kept], { connect: connectFetch }));
  }
  const { fetch } = globalThis;
  globalThis.fetch = function (input, init) {
    setDispatcher();
    return fetch(input, init);
  };
  Object.defineProperty(globalThis.fetch, 'name', { value: 'fetch' });
  const webSocket = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  if (webSocket && webSocket.get) {
    Object.defineProperty(globalThis, 'WebSocket', {
      get() {
        setDispatcher();
        return webSocket.get.call(globalThis);
      },
    });
  }
})();
