// A user with Chromium: `node provider_user.mjs PORT PROVIDER_PORT PICTURES` signs in by the provider, uses two apps on two domains, comes to a deep
// link, and signs out at either end. Fails loudly; PICTURES is a folder for screenshots, or empty.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';

// NODE_PATH is for CommonJS only.
const { chromium } = createRequire(process.env.NODE_PATH + '/')('playwright-core');
const [port, provider_port, pictures] = process.argv.slice(2);
const [one, two] = ['one.fabric.test', 'two.other.test'].map((host) => `https://${host}:${port}`);
const home = `https://auth.fabric.test:${port}`;
const PATIENCE = 20_000;

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
async function signInThere(page, user) {
  await page.waitForURL((url) => url.port === provider_port);
  await page.fill('input[name=login]', user);
  await page.fill('input[name=password]', 'anything');
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

try {
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
  const end = Date.now() + PATIENCE;
  for (;;) {
    if ((await bob.evaluate(async () => (await fetch('/y')).status)) === 401) break;
    assert(Date.now() < end, 'the session goes on');
  }

  // Who says no there is told so.
  const carol = await someone();
  await carol.goto(only);
  await carol.waitForURL((url) => url.port === provider_port);
  await carol.getByText('Cancel').click();
  await shows(carol, 'Not signed in');
  await picture(carol, 'denied');
  console.log('all good');
} finally {
  await browser.close();
}
