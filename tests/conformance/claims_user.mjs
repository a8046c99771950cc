// Users with Chromium at applications that have them sign in somewhere else: `node claims_user.mjs WALK PORT PASSWORD FIRST_PASSWORD` goes one of the walks below.
// Says on a line what was done, and waits for one where somebody else has to do something first. Fails loudly.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

// NODE_PATH is for CommonJS only.
const { chromium } = createRequire(process.env.NODE_PATH + '/')('playwright-core');
const [walk, port, password, first] = process.argv.slice(2);
const told = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const PATIENCE = 20_000;

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP *.test 127.0.0.1, MAP localhost 127.0.0.1',
  ],
});
// The fabric's CA is none that a browser trusts.
const context = await browser.newContext({ ignoreHTTPSErrors: true });
context.setDefaultTimeout(PATIENCE);
const page = await context.newPage();
const visited = [];
page.on('framenavigated', (frame) => visited.push(`${new URL(frame.url()).host}${new URL(frame.url()).pathname}`));
const posts = [];
page.on('request', (request) => {
  if (request.method() === 'POST') posts.push(new URL(request.url()));
});

async function shows(heading) {
  await page.locator('h1', { hasText: heading }).waitFor();
}

async function signIn(typed = password) {
  await shows('Sign in');
  await page.fill('input[name=user]', 'alice');
  await page.fill('input[name=password]', typed);
  await page.click('form button');
}

// By the edge's sign-in page, and by the provider's.
async function begin(url) {
  await page.goto(url);
  await signIn();
  await shows('Provider');
}

const goOn = () => page.getByRole('button', { name: 'Go on' }).click();

// At an app, from the deep link to the deep link.
async function land(url) {
  await page.waitForURL(url);
  await shows('alice');
}

// The edge's session goes on while the user is at the provider. `kept`: whether the response has to go by the sign-in host.
async function there(url, kept) {
  await begin(url);
  visited.length = 0;
  await goOn();
  await land(url);
  const byHost = visited.some((place) => place.startsWith('auth.'));
  const asked = visited.some((place) => place.endsWith('/sign-in'));
  assert.deepEqual([byHost || visited.some((place) => place.endsWith('/.adit/repeat')), asked], [kept, false], visited.join(' '));
}

const app = (name) => `https://${name}.fabric.test:${port}`;
const walks = {
  // What an operator has chosen is changed before anything else.
  first: async () => {
    await page.goto(`https://auth.fabric.test:${port}/sign-in`);
    await signIn(first);
    await shows('Choose a new password');
    await page.fill('input[name=password]', first);
    for (const field of ['new', 'again']) await page.fill(`input[name=${field}]`, password);
    await page.click('form button');
    await page.locator('h1', { hasText: 'Choose' }).waitFor({ state: 'detached' });
  },
  saml: () => there(`${app('saml')}/deep/link.html?x=1&y=%20`, true),
  'saml-none': () => there(`${app('saml-none')}/deep/link.html?x=1`, false),
  // The session ends while the user is at the provider, whose response is for an app that nobody is signed in at.
  expired: async () => {
    const url = `${app('saml')}/deep/link.html?x=1&y=%20`;
    await begin(url);
    console.log('at the provider');
    await told.next();
    await goOn();
    await signIn();
    await land(url);
    const sent = posts.filter(({ pathname }) => pathname === '/mellon/postResponse');
    assert.deepEqual(sent.map(({ search }) => search !== ''), [false, true], 'once kept, once sent again');
  },
  // Without the switch nothing of other sites is posted to the app.
  closed: async () => {
    await begin(`${app('saml-closed')}/`);
    await goOn();
    await page.getByText('it came from another site').waitFor();
  },
  'ws-federation': () => there(`${app('ws-federation')}/deep/link?x=1&y=%20`, true),
  openid: async () => {
    const url = `${app('openid')}/deep/link?x=1&y=%20`;
    await page.goto(url);
    await signIn();
    await page.waitForURL((url) => url.hostname === 'localhost');
    await page.fill('input[name=login]', 'alice');
    await page.fill('input[name=password]', 'anything');
    await page.click('button[type=submit]');
    await page.locator('input[name=prompt][value=consent]').waitFor({ state: 'attached' });
    await page.click('button[type=submit]');
    await land(url);
  },
};

try {
  await walks[walk]();
  console.log('all good');
} catch (error) {
  console.error(page.url(), await page.textContent('body'), visited.join(' '));
  throw error;
} finally {
  await browser.close();
  process.stdin.destroy();
}
