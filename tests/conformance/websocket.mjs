// WebSockets by Node: `node websocket.mjs serve` is an origin and prints its port; `node websocket.mjs ask HOST PORT CA` speaks
// to it over HTTP/1.1. Fails loudly.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import https from 'node:https';

// NODE_PATH is for CommonJS only.
const { WebSocket, WebSocketServer } = createRequire(process.env.NODE_PATH + '/')('ws');
const [what, host, port, ca] = process.argv.slice(2);

async function serve() {
  const server = createServer((request, response) => response.end('plain'));
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true, handleProtocols: (offered) => [...offered].at(-1) });
  sockets.on('headers', (headers) => headers.push('Set-Cookie: n=1'));
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('ping', (data) => socket.send('pinged ' + data));
  });
  // Any other protocol: what comes is echoed until the user's half is closed, and then there is a last word.
  server.on('upgrade', (request, socket, head) => {
    if (request.headers.upgrade === 'websocket') {
      sockets.handleUpgrade(request, socket, head, (accepted) => sockets.emit('connection', accepted, request));
      return;
    }
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n');
    socket.allowHalfOpen = true;
    socket.on('data', (data) => socket.write(data)).on('end', () => socket.end('bye'));
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}

const reach = { host: '127.0.0.1', port, servername: host, ca: ca && readFileSync(ca), headers: { Host: `${host}:${port}` } };

async function messages() {
  const socket = new WebSocket(`wss://127.0.0.1:${port}/`, ['x', 'y'], { ...reach, perMessageDeflate: true });
  const [[answer]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')]);
  assert.deepEqual(answer.headers['set-cookie'], ['n=1']);
  assert.equal(socket.protocol, 'y');
  assert.match(socket.extensions, /permessage-deflate/);
  for (const data of ['hello', Buffer.alloc(1_000_000, 7), '']) {
    socket.send(data);
    const [said] = await once(socket, 'message');
    assert.deepEqual(said, Buffer.from(data));
  }
  socket.ping('a');
  await once(socket, 'pong');
  socket.close(4321, 'done');
  const [code, reason] = await once(socket, 'close');
  assert.deepEqual([code, reason.toString()], [4321, 'done']);
}

// Node's own client and server, with a protocol that is no WebSocket: one half ends, and the other goes on.
async function halfClose() {
  const asking = https.request({ ...reach, path: '/', headers: { ...reach.headers, Connection: 'Upgrade', Upgrade: 'echo/1' } });
  asking.end();
  const [answer, socket, head] = await once(asking, 'upgrade');
  assert.equal(answer.headers.upgrade, 'echo/1');
  let said = head.toString();
  socket.on('data', (data) => (said += data));
  socket.allowHalfOpen = true;
  socket.end('hello ');
  await once(socket, 'end');
  assert.equal(said, 'hello bye');
}

async function plain() {
  const asking = https.get({ ...reach, path: '/' });
  const [answer] = await once(asking, 'response');
  assert.equal(answer.statusCode, 200);
  assert.equal((await answer.toArray()).join(''), 'plain');
}

if (what === 'serve') await serve();
else {
  for (const part of [messages, plain, halfClose]) await part();
  console.log('all good');
  process.exit(0);
}
