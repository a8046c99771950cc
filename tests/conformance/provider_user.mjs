// Users with Chromium: `node provider_user.mjs WALK PORT PROVIDER_PORT PICTURES MORE...` goes one of the walks below. Says on a line what was done, and
// waits for one where somebody else has to do something first. Fails loudly; PICTURES is a folder for screenshots, or empty.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';

// NODE_PATH is for CommonJS only.
const { chromium } = createRequire(process.env.NODE_PATH + '/')('playwright-core');
const [walk, port, provider_port, pictures, ...more] = process.argv.slice(2);
const told = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const [one, two] = ['one.fabric.test', 'two.other.test'].map((host) => `https://${host}:${port}`);
const home = `https://auth.fabric.test:${port}`;
const PATIENCE = 20_000;
// Providers are asked after a minute, give or take a tenth, and edges look every ten seconds.
const REFRESHED = 100_000;

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP *.test 127.0.0.1, MAP localhost 127.0.0.1',
  ],
});

async function someone() {
  // The fabric's CA is none that a browser trusts.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 900, height: 700 } });
  context.setDefaultTimeout(PATIENCE);
  return context.newPage();
}

async function picture(page, name) {
  if (pictures) await page.screenshot({ path: path.join(pictures, `provider-${name}.png`) });
}

async function shows(page, heading) {
  await page.locator('h1', { hasText: heading }).waitFor();
}

// The provider's own pages: name and password, then consent.
async function signInThere(page, user, password = 'anything') {
  await page.waitForURL((url) => url.port === provider_port);
  await page.fill('input[name=login]', user);
  await page.fill('input[name=password]', password);
  await page.click('button[type=submit]');
  await page.waitForURL((url) => url.port !== provider_port || /interaction/.test(url.pathname));
  if (await page.locator('input[name=prompt][value=consent]').count()) await page.click('button[type=submit]');
}

async function signIn(page, url, user) {
  await page.goto(url);
  await shows(page, 'Sign in');
  await picture(page, 'choice');
  await page.getByRole('button', { name: 'Sign in with Staff' }).click();
  await signInThere(page, user);
  await page.waitForURL(url);
}

async function who(page) {
  return page.evaluate(async () => (await fetch('/.adit/identity')).json());
}

// Until the session of the page's app is over.
async function ends(page, url, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    if ((await page.evaluate(async (url) => (await fetch(url)).status, url)) === 401) return;
    assert(Date.now() < end, 'the session goes on');
    await page.waitForTimeout(200);
  }
}

// Hosts that the page asks from now on.
function asked(page) {
  const hosts = [];
  page.on('request', (request) => hosts.push(new URL(request.url()).host));
  return hosts;
}

// One sign-in for two apps on two domains, a deep link, and signing out at either end.
async function everywhere() {
  const alice = await someone();
  const deep = `${one}/deep/link?x=1&y=%20#/inbox/42`;
  await signIn(alice, deep, 'alice');
  await shows(alice, 'origin');
  const identity = await who(alice);
  assert.equal(identity.user, 'alice@staff');
  assert.equal(identity.display_name, 'alice of the provider');
  assert.deepEqual(identity.user_groups, ['staff']);

  // Another domain, and nobody asks for anything.
  const asked = [];
  alice.on('request', (request) => asked.push(new URL(request.url()).host));
  await alice.goto(`${two}/x#there`);
  await shows(alice, 'origin');
  assert.equal(alice.url(), `${two}/x#there`);
  assert(!asked.includes(`localhost:${provider_port}`), asked.join(' '));

  // An app that takes the word of this provider alone leads there without a page to click on.
  const bob = await someone();
  const only = `https://only.fabric.test:${port}/y?z=2#part`;
  await bob.goto(only);
  await signInThere(bob, 'bob');
  await bob.waitForURL(only);
  await shows(bob, 'origin');

  // Out here, and there.
  await alice.goto(`${two}/.adit/sign-out`);
  await shows(alice, 'Sign out?');
  await picture(alice, 'sign-out');
  await alice.getByRole('button', { name: 'Sign out' }).click();
  await alice.waitForURL((url) => url.port === provider_port);
  await alice.locator('button[name=logout]').click();
  await alice.waitForURL(`${home}/sign-out/done`);
  await shows(alice, 'Signed out');
  await picture(alice, 'signed-out');
  for (const app of [one, two]) {
    await alice.goto(app);
    await shows(alice, 'Sign in');
  }

  // Out there, and so here: the provider tells the edge behind the user's back.
  const there = await bob.context().newPage();
  await there.goto(`http://localhost:${provider_port}/session/end`);
  await there.locator('button[name=logout]').click();
  await ends(bob, '/y');

  // Who says no there is told so.
  const carol = await someone();
  await carol.goto(only);
  await carol.waitForURL((url) => url.port === provider_port);
  await carol.getByText('Cancel').click();
  await shows(carol, 'Not signed in');
  await picture(carol, 'denied');
}

// Apps that each take the word of one client of the provider's.
async function eachWay() {
  for (const app of ['only', 'by-post', 'by-key']) {
    const page = await someone();
    const url = `https://${app}.fabric.test:${port}/x?y=1`;
    await page.goto(url);
    await signInThere(page, 'grace');
    await page.waitForURL(url);
    await shows(page, 'origin');
    assert.equal((await who(page)).display_name, 'grace of the provider');
    // Who it is, the provider knows without being told: there is nobody to choose from.
    await page.goto(`https://${app}.fabric.test:${port}/.adit/sign-out`);
    const there = page.waitForRequest((request) => new URL(request.url()).pathname === '/session/end');
    await page.getByRole('button', { name: 'Sign out' }).click();
    const hint = new URL((await there).url()).searchParams.get('id_token_hint');
    const claims = JSON.parse(Buffer.from(hint.split('.')[1], 'base64url'));
    assert.equal(claims.sub, 'grace');
    await page.locator('button[name=logout]').click();
    await page.waitForURL(`${home}/sign-out/done`);
  }
}

async function controlAway() {
  const url = `https://only.fabric.test:${port}/y`;
  const heidi = await someone();
  await heidi.goto(url);
  await signInThere(heidi, 'heidi');
  await heidi.waitForURL(url);
  console.log('signed in before');
  await told.next();
  // Who has a session goes on, and who has none gets one.
  await heidi.reload();
  await shows(heidi, 'origin');
  const ivan = await someone();
  await ivan.goto(url);
  await signInThere(ivan, 'ivan');
  await ivan.waitForURL(url);
  await shows(ivan, 'origin');
  console.log('signed in meanwhile');
  await told.next();
  for (const page of [heidi, ivan]) {
    const hosts = asked(page);
    await page.reload();
    await shows(page, 'origin');
    assert.deepEqual([...new Set(hosts)], [new URL(url).host]);
  }
}

async function refreshed() {
  const url = `https://only.fabric.test:${port}/z`;
  const pages = {};
  for (const user of ['dave', 'erin', 'frank']) {
    pages[user] = await someone();
    await pages[user].goto(url);
    await signInThere(pages[user], user);
    await pages[user].waitForURL(url);
  }
  const { dave, erin, frank } = pages;
  assert.deepEqual((await who(erin)).user_groups, ['staff']);
  console.log('signed in');
  await Promise.all([ends(erin, '/z', REFRESHED), ends(frank, '/z', REFRESHED)]);
  // The provider's session goes on: the next one begins without a question, and says it right.
  await erin.goto(url);
  await erin.waitForURL(url);
  await shows(erin, 'origin');
  assert.deepEqual((await who(erin)).user_groups.sort(), ['ops', 'staff']);
  console.log('erin has new groups, and was not asked');
  await frank.goto(url);
  await frank.waitForURL((url) => url.port === provider_port);
  console.log('frank is out');
  await dave.reload();
  await shows(dave, 'origin');
  console.log('dave goes on');
}

// Apps whose agents ask for the provider's ID token. The agent here has no account in a domain, so whom it believes gets no further.
async function byIdToken() {
  const page = await someone();
  const fails = (reason) => page.locator('body', { hasText: reason }).waitFor();
  const [named, nameless] = ['named', 'nameless'].map((app) => `https://${app}.fabric.test:${port}/x`);
  await page.goto(named);
  await signInThere(page, 'judy');
  await page.waitForURL(named);
  await fails('sso_failed');
  // At the next app nobody is asked for anything, and the token, which is good, has no name of the user under the app's claim.
  const hosts = asked(page);
  await page.goto(nameless);
  await page.waitForURL(nameless);
  assert(!hosts.includes(`localhost:${provider_port}`), hosts.join(' '));
  await fails('sso_id_token');
}

// Apps of a Kerberos domain, by the principal names that the provider says; a password that nobody but the provider is told.
async function kerberos() {
  const [password] = more;
  const app = `https://kerberos.fabric.test:${port}/whoami`;
  const told = new Set();
  const signedOn = async (user, seen) => {
    const page = await someone();
    page.context().on('request', (request) => {
      const said = [request.url(), request.postData() ?? '', JSON.stringify(request.headers())].join(' ');
      if ([password, Buffer.from(password).toString('base64')].some((it) => said.includes(it)))
        told.add(new URL(request.url()).host);
    });
    await page.goto(app);
    await signInThere(page, user, password);
    await page.waitForURL(app);
    assert.equal((await page.locator('body').innerText()).trim(), `user=${seen}`);
    return page;
  };
  const alice = await signedOn('alice', 'alice\\@lab.test@LAB.TEST');
  // By the account of that name, and nobody asks for anything again.
  const hosts = asked(alice);
  await alice.goto(`https://kerberos-account.fabric.test:${port}/whoami`);
  assert.equal((await alice.locator('body').innerText()).trim(), 'user=alice@LAB.TEST');
  assert(!hosts.includes(`localhost:${provider_port}`), hosts.join(' '));
  await picture(alice, 'kerberos');
  await signedOn('bob', 'bob\\@corp.example@LAB.TEST');
  for (const user of ['carol', 'dave', 'unknown']) await isRefused(user, app, password);
  assert.deepEqual([...told], [`localhost:${provider_port}`]);
}

async function isRefused(user, app, password) {
  const page = await someone();
  await page.goto(app);
  const answered = page.waitForResponse((response) => response.url() === app && response.status() !== 302);
  await signInThere(page, user, password);
  assert.equal((await answered).status(), 403);
  await page.waitForURL(app);
  const words = await page.locator('body').innerText();
  assert(words.includes('sso_user_refused'), words);
  assert(!/kerberos|ticket|kdc|lab\.test/i.test(words), words);
  for (const [name, width, colorScheme] of [['', 900, 'light'], ['-dark', 900, 'dark'], ['-phone', 360, 'light'], ['-phone-dark', 360, 'dark']]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 700 });
    assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `wider than ${width}`);
    await picture(page, `refused${name}`);
  }
}

// A native app signs its user in at the provider, by a browser, and gets an access token (RFC 8252).
async function phone() {
  for (const user of more) {
    const page = await someone();
    const verifier = randomBytes(32).toString('base64url');
    const asked = new URLSearchParams({
      client_id: 'phone', response_type: 'code', redirect_uri: 'http://127.0.0.1:9/callback', scope: 'openid app:use', resource: 'urn:lab-app',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
    });
    const back = page.waitForRequest((request) => new URL(request.url()).pathname === '/callback');
    await page.goto(`http://localhost:${provider_port}/auth?${asked}`);
    // Nobody listens where the app would: the browser gives up there.
    await signInThere(page, user).catch(() => {});
    const code = new URL((await back).url()).searchParams.get('code');
    const traded = await fetch(`http://localhost:${provider_port}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        client_id: 'phone', grant_type: 'authorization_code', code, redirect_uri: 'http://127.0.0.1:9/callback', code_verifier: verifier, resource: 'urn:lab-app',
      }),
    });
    const answer = await traded.json();
    assert(answer.access_token, JSON.stringify(answer));
    console.log(`token of ${user}: ${answer.access_token}`);
  }
}

try {
  await { everywhere, 'each-way': eachWay, 'control-away': controlAway, refreshed, 'by-id-token': byIdToken, kerberos, phone }[walk]();
  console.log('all good');
} finally {
  await browser.close();
  process.stdin.destroy();
}
