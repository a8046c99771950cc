// A certified OpenID provider, with its own pages for signing in: any name, any password. `node provider.mjs PORT EDGE_PORT DOMAIN CA KEY`
// serves it at http://localhost:PORT, for clients of the fabric with that domain, whose edge is at EDGE_PORT and is trusted by CA: "adit", which
// shows its secret in the Authorization field, "adit-post", which does in the form, and "adit-key", whose public key (JWK) is in the file KEY.
// With the word `directory` for KEY it is one of a company's directory instead: users have a principal name, in ID tokens and in access tokens
// (RFC 9068) for the resource urn:lab-app, which the native app "phone" asks for.
// Prints a line when it serves. POST /test/users?user=U&groups=A,B puts U into these groups, and ?user=U&gone=1 removes U.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import https from 'node:https';

// NODE_PATH is for CommonJS only.
const { Provider } = createRequire(process.env.NODE_PATH + '/')('oidc-provider');
const [port, edge_port, domain, ca, key] = process.argv.slice(2);
const isDirectory = key === 'directory';
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

// Of users who are not as all others.
const groups = new Map();
const gone = new Set();
// A principal name need not begin with the name that users sign in by.
const principals = { bob: 'bob@corp.example' };
const client = (client_id, token_endpoint_auth_method, more) => ({
  client_id,
  token_endpoint_auth_method,
  redirect_uris: [`${home}/sign-in/callback`],
  post_logout_redirect_uris: [`${home}/sign-out/done`],
  backchannel_logout_uri: `${home}/sign-out/back-channel`,
  backchannel_logout_session_required: true,
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  ...more,
});

const claims = (id) => ({
  sub: id, name: `${id} of the provider`, preferred_username: id, groups: groups.get(id) ?? ['staff'], email: `${id}@example.com`, email_verified: true,
  upn: isDirectory ? principals[id] ?? `${id}@lab.test` : undefined,
});

const provider = new Provider(`http://localhost:${port}`, {
  clients: [
    client('adit', 'client_secret_basic', { client_secret: 'a secret: with % and +' }),
    client('adit-post', 'client_secret_post', { client_secret: 'another secret: with % and +' }),
    // An application's own, which takes an ID token in a form.
    client('app', 'none', { redirect_uris: [`https://openid.${domain}:${edge_port}/cb`], response_types: ['id_token'], grant_types: ['implicit'] }),
    isDirectory
      ? client('phone', 'none', { application_type: 'native', redirect_uris: ['http://127.0.0.1/callback'] })
      : client('adit-key', 'private_key_jwt', { jwks: { keys: [JSON.parse(readFileSync(key))] } }),
  ],
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  conformIdTokenClaims: !isDirectory,
  extraTokenClaims: async (context, token) => token.accountId && claims(token.accountId),
  claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'groups', ...(isDirectory ? ['upn'] : [])], email: ['email', 'email_verified'] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true },
    resourceIndicators: {
      enabled: isDirectory,
      getResourceServerInfo: async () => ({ scope: 'app:use', accessTokenFormat: 'jwt', accessTokenTTL: 600 }),
    },
  },
  pkce: { required: () => true },
  cookies: { keys: ['only for tests'] },
  fetch: ask,
  findAccount: async (context, id) => gone.has(id) ? undefined : ({ accountId: id, claims: async () => claims(id) }),
});
// What clients show of themselves.
provider.use(async (context, next) => {
  await next();
  const { client_assertion: assertion, grant_type: grant } = context.oidc?.body ?? {};
  if (grant) console.log('traded', grant, context.oidc.client?.clientId, context.status);
  if (assertion) console.log('assertion', Buffer.from(assertion.split('.')[0], 'base64url').toString());
});
for (const event of ['server_error', 'authorization.error', 'grant.error', 'end_session.error', 'backchannel.error'])
  provider.on(event, (context, error) => console.error(event, error));
const answer = provider.callback();
createServer((request, response) => {
  const url = new URL(request.url, home);
  if (url.pathname !== '/test/users') return answer(request, response);
  const said = url.searchParams;
  if (said.has('gone')) gone.add(said.get('user'));
  else groups.set(said.get('user'), said.get('groups').split(','));
  response.end();
}).listen(port, '127.0.0.1', () => console.log('serves'));
