// A certified OpenID provider, with its own pages for signing in: any name, any password. `node provider.mjs PORT EDGE_PORT DOMAIN CA`
// serves it at http://localhost:PORT, for the client "adit" of the fabric with that domain, whose edge is at EDGE_PORT and is trusted by CA.
// Prints a line when it serves.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import https from 'node:https';

// NODE_PATH is for CommonJS only.
const { Provider } = createRequire(process.env.NODE_PATH + '/')('oidc-provider');
const [port, edge_port, domain, ca] = process.argv.slice(2);
const home = `https://auth.${domain}:${edge_port}`;

// Names of the fabric are in no DNS here: whatever the provider asks for is at the edge.
function ask(url, { method, headers, body }) {
  return new Promise((resolve, reject) => {
    const { pathname, host, hostname } = new URL(url);
    const options = {
      host: '127.0.0.1', port: edge_port, path: pathname, method, servername: hostname,
      headers: { ...Object.fromEntries(new Headers(headers)), host }, ca: readFileSync(ca),
    };
    const request = https.request(options, (answer) => {
      answer.resume();
      console.log('told', pathname, answer.statusCode);
      resolve(new Response(null, { status: answer.statusCode }));
    });
    request.on('error', reject);
    request.end(body?.toString());
  });
}

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: 'adit',
    client_secret: 'a secret: with % and +',
    redirect_uris: [`${home}/sign-in/callback`],
    post_logout_redirect_uris: [`${home}/sign-out/done`],
    backchannel_logout_uri: `${home}/sign-out/back-channel`,
    backchannel_logout_session_required: true,
    response_types: ['code'],
    grant_types: ['authorization_code'],
  }],
  claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'groups'], email: ['email', 'email_verified'] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true } },
  pkce: { required: () => true },
  cookies: { keys: ['only for tests'] },
  fetch: ask,
  findAccount: async (context, id) => ({
    accountId: id,
    claims: async () => ({
      sub: id, name: `${id} of the provider`, preferred_username: id, groups: ['staff'], email: `${id}@example.com`, email_verified: true,
    }),
  }),
});
for (const event of ['server_error', 'authorization.error', 'grant.error', 'end_session.error', 'backchannel.error'])
  provider.on(event, (context, error) => console.error(event, error));
createServer(provider.callback()).listen(port, '127.0.0.1', () => console.log('serves'));
