// Swagger UI, used as a person uses it, in Debian's Chromium.
//
// Environment: SERVER_URL, ADMIN (name:password), WHARFINGER_SECRET_SCANNING_TOKEN, SCREENSHOTS (a folder), CHROMIUM (the browser).

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { createServer, request } from "node:http";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { SERVER_URL: base, ADMIN: admin, SCREENSHOTS: folder, CHROMIUM, WHARFINGER_SECRET_SCANNING_TOKEN: scanner } = process.env;
const [name, ...rest] = admin.split(":");
const password = rest.join(":");

// The longest time of a step, in milliseconds. It ends a test that hangs, also on a machine that does much else.
const patience = 60_000;

let browser;
let page;
// Everything the page asked for and everything it complained about.
const asked = [];
const complaints = [];

before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM ?? "/usr/bin/chromium",
    // Without the sandbox, as root cannot have it, and without the browser's own traffic.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 1000 } });
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: base });
  page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.on("request", (request) => asked.push(request.url()));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
});

after(async () => {
  await page?.screenshot({ path: `${folder}/last.png` });
  await browser?.close();
});

// Gives the page a Bearer in place of name and password, or gives it these again.
async function authorizeBasic(username, secret) {
  await page.locator("button.authorize").first().click();
  const basic = page.locator(".auth-container").first();
  await basic.locator("button", { hasText: "Logout" }).click();
  await basic.locator('input[name="username"]').fill(username);
  await basic.locator('input[name="password"]').fill(secret);
  await basic.locator('button[type="submit"]').click();
  await page.locator(".btn-done").first().click();
}

async function authorizeBearer(token) {
  await page.locator("button.authorize").first().click();
  const [basic, bearer] = [0, 1].map((index) => page.locator(".auth-container").nth(index));
  const [gone, given] = token ? [basic, bearer] : [bearer, basic];
  await gone.locator("button", { hasText: "Logout" }).click();
  if (token) {
    await given.locator("input").fill(token);
  } else {
    await given.locator('input[name="username"]').fill(name);
    await given.locator('input[name="password"]').fill(password);
  }
  await given.locator('button[type="submit"]').click();
  await page.locator(".btn-done").first().click();
}

// Fills an operation's form, presses Execute and returns what Swagger UI then shows.
async function execute(id, { parameters = {}, body, form = {} } = {}) {
  const block = page.locator(`[id$="-${id}"].opblock`);
  if (!(await block.evaluate((element) => element.classList.contains("is-open")))) {
    await block.locator(".opblock-summary-control").click();
  }
  // A value of a few is chosen, any other is typed.
  const enter = async (row, value) => {
    const field = block.locator(row).locator("input, select").first();
    const isChoice = await field.evaluate((element) => element.tagName === "SELECT");
    await (isChoice ? field.selectOption(value) : field.fill(value));
  };
  for (const [name, value] of Object.entries(parameters)) await enter(`tr[data-param-name="${name}"]`, value);
  for (const [name, value] of Object.entries(form)) await enter(`tr[data-property-name="${name}"]`, value);
  if (body !== undefined) {
    await block.locator("textarea.body-param__text").fill(JSON.stringify(body));
  }
  const path = ({ pathname }) => !pathname.startsWith("/docs") && !pathname.startsWith("/openapi");
  const [response] = await Promise.all([
    page.waitForResponse((response) => path(new URL(response.url()))),
    block.locator("button.execute").click(),
  ]);
  const shown = block.locator(".live-responses-table tbody .response-col_status").first();
  await shown.filter({ hasText: String(response.status()) }).waitFor();
  const text = await response.text();
  const headers = response.headers();
  const isJson = headers["content-type"]?.startsWith("application/json");
  return { block, status: response.status(), headers, text, json: isJson && text ? JSON.parse(text) : null, url: response.url() };
}

test("the page loads from this origin alone, with and without the slash", async () => {
  for (const path of ["/docs", "/docs/"]) {
    const response = await page.goto(base + path, { waitUntil: "networkidle" });
    assert.equal(response.status(), 200);
    assert.equal(page.url(), `${base}/docs/`);
    assert.match(response.headers()["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
  }
  assert.equal(await page.locator(".info .title").innerText().then((text) => text.startsWith("Wharfinger")), true);
});

test("a link cannot configure the page", async () => {
  await page.goto(`${base}/docs/?url=http://127.0.0.1:1/evil.json&configUrl=http://127.0.0.1:1/evil.json`, {
    waitUntil: "networkidle",
  });
  assert.equal(await page.locator(".info .title").innerText().then((text) => text.startsWith("Wharfinger")), true);
  assert.equal(asked.some((url) => url.startsWith("http://127.0.0.1:1/")), false);
  await page.goto(`${base}/docs/`, { waitUntil: "networkidle" });
});

// The ids of a document's operations, in an order of their own.
function idsOf(document) {
  const operations = Object.values(document.paths).flatMap((item) => Object.values(item));
  return operations.flatMap(({ operationId }) => operationId ?? []).sort();
}

// Chooses every document in turn and compares what is shown with what is served.
async function chooseEach(page, base, picture) {
  await page.locator("select#select option").nth(3).waitFor({ state: "attached" });
  const options = await page.locator("select#select option").evaluateAll((all) => all.map(({ label, value }) => ({ label, value })));
  assert.ok(options.length > 3, JSON.stringify(options));
  assert.equal(await page.locator("select#select").inputValue(), options[0].value);
  const titles = [];
  for (const { label, value } of options) {
    const answer = await fetch(new URL(value, `${base}/docs/`));
    assert.equal(answer.status, 200, value);
    const document = await answer.json();
    await page.locator("select#select").selectOption({ label });
    const { title } = document.info;
    // Behind the title, in the same element, comes the version.
    await page.waitForFunction((title) => document.querySelector(".info .title")?.firstChild.textContent === title, title);
    const ids = idsOf(document);
    await page.waitForFunction((count) => document.querySelectorAll(".opblock").length === count, ids.length);
    const shown = await page.locator(".opblock").evaluateAll((blocks) => blocks.map(({ id }) => id.split("-").at(-1)));
    assert.deepEqual(shown.sort(), ids, label);
    titles.push(title);
    if (picture) await page.screenshot({ path: `${folder}/${picture}-${titles.length}.png` });
  }
  assert.equal(new Set(titles).size, titles.length);
}

test("every document can be chosen, the one for all is the first", async () => {
  await chooseEach(page, base, "document");
  // The choice is in the address, so that it can be passed on. It is by name: an address would not do.
  await page.goto(page.url(), { waitUntil: "networkidle" });
  const chosen = await page.locator(".info .title").innerText();
  assert.ok(chosen.startsWith("Wharfinger: "), chosen);
  await page.goto(`${base}/docs/?urls.primaryName=http://127.0.0.1:1/evil.json`, { waitUntil: "networkidle" });
  assert.equal(await page.locator("select#select").evaluate((select) => select.selectedIndex), 0);
  await page.goto(`${base}/docs/`, { waitUntil: "networkidle" });
});

test("behind a proxy that adds a prefix, every document can be chosen too", async () => {
  const proxy = createServer((received, response) => {
    if (!received.url.startsWith("/wharf/")) return response.writeHead(404).end();
    const { method, headers } = received;
    const onward = request(base + received.url.slice("/wharf".length), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    received.pipe(onward);
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const other = await browser.newPage();
  other.setDefaultTimeout(patience);
  try {
    const prefixed = `http://127.0.0.1:${proxy.address().port}/wharf`;
    await other.goto(`${prefixed}/docs`, { waitUntil: "networkidle" });
    assert.equal(other.url(), `${prefixed}/docs/`);
    await chooseEach(other, prefixed);
    // Another application may be at the root of the same origin: nothing is asked there.
    await other.goto(`${prefixed}/docs/`, { waitUntil: "networkidle" });
    const [answer] = await Promise.all([
      other.waitForResponse((response) => new URL(response.url()).pathname.endsWith("/locations")),
      (async () => {
        const block = other.locator('[id$="-locationsGet"].opblock');
        await block.locator(".opblock-summary-control").click();
        await block.locator("button.execute").click();
      })(),
    ]);
    assert.deepEqual([answer.url(), answer.status()], [`${prefixed}/locations`, 401]);
  } finally {
    await other.close();
    proxy.closeAllConnections();
    proxy.close();
  }
});

test("the root leads to the page, which fits a narrow screen", async () => {
  await page.goto(`${base}/`, { waitUntil: "networkidle" });
  assert.equal(page.url(), `${base}/docs/`);
  await page.setViewportSize({ width: 390, height: 844 });
  await page.locator('[id$="-registriesTokensPost"].opblock .opblock-summary-control').click();
  await page.locator("textarea.body-param__text").waitFor();
  const overflow = async (place) => {
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.ok(widths[0] <= widths[1], `${place}: ${widths}`);
  };
  await page.screenshot({ path: `${folder}/narrow.png` });
  await overflow("an open operation");
  await page.locator("button.authorize").first().click();
  await page.screenshot({ path: `${folder}/narrow-authorize.png` });
  await overflow("the dialog");
  await page.keyboard.press("Escape");
  await page.setViewportSize({ width: 1280, height: 1000 });
  await page.goto(`${base}/docs/`, { waitUntil: "networkidle" });
});

test("the dialog offers Basic first, keeps the keyboard, and closes by Escape", async () => {
  await page.locator("button.authorize").first().click();
  const dialog = page.locator(".modal-ux");
  await dialog.waitFor();
  const schemes = await dialog.locator(".auth-container h4 code").allInnerTexts();
  assert.deepEqual(schemes, ["basicAuth", "bearerAuth"]);
  await page.screenshot({ path: `${folder}/authorize.png` });
  const focused = () => page.evaluate(() => document.activeElement.name || document.activeElement.className);
  assert.equal(await focused(), "username");
  assert.equal(await dialog.locator(".modal-ux-content").evaluate((content) => content.scrollTop), 0);
  const visited = new Set();
  for (let press = 0; press < 20; press += 1) {
    await page.keyboard.press(press % 7 === 6 ? "Shift+Tab" : "Tab");
    assert.ok(await page.evaluate(() => document.activeElement.closest(".modal-ux") !== null), `after ${press + 1} presses`);
    visited.add(await focused());
  }
  assert.ok(visited.has("username") && visited.has("close-modal"), [...visited].join());
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  assert.match(await focused(), /authorize/);
});

test("an open operation shows one example for all refusals", async () => {
  const block = page.locator('[id$="-registriesTokensPost"].opblock');
  await block.locator(".opblock-summary-control").click();
  await block.locator('tr.response[data-code="503"]').waitFor();
  const examples = block.locator("tr.response .model-example:visible");
  // Of the success and of 400.
  assert.equal(await examples.count(), 2);
  const height = await block.evaluate((element) => element.offsetHeight);
  assert.ok(height < 3300, `${height} pixels`);
  await block.locator(".opblock-summary-control").click();
});

test("missing and wrong credentials are shown as the 401 that they are", async () => {
  const refused = async () => {
    const { status, json } = await execute("registriesGet");
    assert.deepEqual([status, json.messages[0].errorCode], [401, "unauthenticated"]);
  };
  await refused();
  // The token endpoint challenges with Basic whoever asks, for a registry that there is.
  const authorization = `Basic ${Buffer.from(admin).toString("base64")}`;
  const ask = (path, init) =>
    fetch(base + path, { ...init, headers: { authorization, "content-type": "application/json" } });
  const properties = { name: "sign-in", location: "de/fra" };
  const { id } = await (await ask("/registries", { method: "POST", body: JSON.stringify({ properties }) })).json();
  const wrong = { grant_type: "password", service: "sign-in.localhost", username: "nobody", password: "wrong" };
  assert.equal((await execute("registryTokenPost", { form: wrong })).status, 401);
  assert.equal((await ask(`/registries/${id}`, { method: "DELETE" })).status, 204);
  await page.locator("button.authorize").first().click();
  const form = page.locator(".auth-container").first();
  await form.locator('input[name="username"]').fill(name);
  await form.locator('input[name="password"]').fill("a wrong password");
  await form.locator('button[type="submit"]').click();
  await page.locator(".btn-done").first().click();
  await refused();
  // The command that is shown is one for a shell, and has no header that is there for browsers.
  const command = await page.locator('[id$="-registriesGet"] .curl-command').innerText();
  assert.doesNotMatch(command, /X-Requested-With/i);
  await page.screenshot({ path: `${folder}/refused.png` });
  complaints.splice(0, Infinity, ...complaints.filter((text) => !/status of 401/.test(text)));
  await page.goto(`${base}/docs/`, { waitUntil: "networkidle" });
});

test("every operation can be tried, and the secret of a token can be copied", async () => {
  await page.locator("button.authorize").first().click();
  const form = page.locator(".auth-container").first();
  await form.locator('input[name="username"]').fill(name);
  await form.locator('input[name="password"]').fill(password);
  await form.locator('button[type="submit"]').click();
  await page.locator(".btn-done").first().click();
  await page.screenshot({ path: `${folder}/docs.png` });

  const used = new Set();
  const step = async (id, status, how) => {
    const outcome = await execute(id, how);
    assert.equal(outcome.status, status, `${id}: ${JSON.stringify(outcome.json)}`);
    used.add(id);
    // The page draws all that is open anew with every letter that is typed. The one that is copied from stays.
    if (id !== "registriesTokensPost") await outcome.block.locator(".opblock-summary-control").click();
    return outcome;
  };

  const locations = await step("locationsGet", 200);
  assert.equal(locations.json.items[0].id, "de/fra");
  await step("namesCheckUsage", 404, { parameters: { name: "browser" } });
  const properties = { name: "browser", location: "de/fra" };
  const registry = (await step("registriesPost", 201, { body: { properties } })).json.id;
  await step("namesCheckUsage", 200, { parameters: { name: "browser" } });
  const one = { parameters: { registryId: registry } };
  await step("registriesGet", 200, { parameters: { "filter.name": "brow", limit: "10", "pagination.token": "" } });
  await step("registriesFindById", 200, one);
  await step("registriesPut", 200, { ...one, body: { properties } });
  await step("registriesPatch", 200, { ...one, body: { apiSubnetAllowList: ["10.1.0.0/16", "127.0.0.0/8"] } });

  const created = await step("registriesTokensPost", 201, { ...one, body: { properties: { name: "explorer" } } });
  const first = created.json.properties.credentials.password;
  assert.match(first, /^whrt_[0-9A-Za-z]{39}$/);
  await created.block.scrollIntoViewIfNeeded();
  await page.screenshot({ path: `${folder}/token.png`, fullPage: false });
  await created.block.locator(".live-responses-table .copy-to-clipboard").last().click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.ok(copied.includes(first), "the copied answer has no secret");

  const token = { parameters: { registryId: registry, tokenId: created.json.id } };
  const listed = await step("registriesTokensGet", 200, { parameters: { registryId: registry, offset: "0", limit: "5" } });
  assert.equal(listed.json.total, 1);
  await step("registriesTokensFindById", 200, token);
  const evaluated = await step("registriesTokensEvaluate", 200, { ...token, body: { scope: "repository:team/app:pull" } });
  assert.deepEqual([evaluated.json.usable, evaluated.json.scope, evaluated.json.decisions.length], [true, "", 1]);

  const rotated = await step("registriesTokensRotate", 200, { ...token, body: { gracePeriod: "PT24H" } });
  const secret = rotated.json.properties.credentials.password;
  assert.match(secret, /^whrt_[0-9A-Za-z]{39}$/);
  assert.notEqual(secret, first);
  await step("registriesTokensPreviousSecretDelete", 204, token);

  assert.equal((await step("tokensGet", 200)).json.items[0].metadata.registryName, "browser");
  assert.equal((await step("tokensLookup", 200, { body: { secret } })).json.name, "explorer");
  const bulk = { filter: { name: "explorer" }, action: "enable", dryRun: true };
  const { confirmation } = (await step("tokensBulkPost", 200, { body: { properties: bulk } })).json.properties;
  const run = { parameters: { bulkId: (await step("tokensBulkPost", 202, { body: { properties: { confirmation } } })).json.id } };
  await step("bulkGet", 200);
  await step("bulkFindById", 200, run);
  await step("bulkCancelPost", 200, run);
  const robot = await step("registriesApiTokensPost", 201, { ...one, body: { properties: { name: "robot", level: "reader" } } });
  const narrow = { parameters: { registryId: registry, apiTokenId: robot.json.id } };
  await step("registriesApiTokensGet", 200, one);
  await step("registriesApiTokensFindById", 200, narrow);
  await step("registriesApiTokensDelete", 204, narrow);
  assert.equal((await step("meGet", 200)).json.properties.name, name);
  await step("mePasswordPut", 204, { body: { properties: { password, presentPassword: password } } });

  const workload = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = { ...workload.publicKey.export({ format: "jwk" }), kid: "1", alg: "ES256", use: "sig" };
  const url = "https://ci.example.com";
  const trusted = { url, kind: "other", jwks: { keys: [key] } };
  const issuer = (await step("issuersPost", 201, { body: { properties: trusted } })).json.id;
  const ofIssuer = { parameters: { issuerId: issuer } };
  assert.equal((await step("issuersGet", 200)).json.items[0].properties.url, url);
  await step("issuersFindById", 200, ofIssuer);
  await step("issuersPut", 200, { ...ofIssuer, body: { properties: trusted } });
  await step("issuersPatch", 200, { ...ofIssuer, body: { algorithms: ["ES256"] } });
  const scopes = [{ type: "repository", name: "team/app", actions: ["pull"] }];
  const trust = { name: "job", issuer, claims: { sub: "explorer" }, scopes };
  const { json: made } = await step("registriesTrustsPost", 201, { ...one, body: { properties: trust } });
  const job = { parameters: { registryId: registry, trustId: made.id } };
  assert.equal((await step("registriesTrustsGet", 200, one)).json.total, 1);
  await step("registriesTrustsFindById", 200, job);
  await step("registriesTrustsPut", 200, { ...job, body: { properties: trust } });
  await step("registriesTrustsPatch", 200, { ...job, body: { maximumLife: "PT30M" } });
  const seconds = Math.floor(Date.now() / 1000);
  const claims = { iss: url, aud: "browser.localhost", sub: "explorer", iat: seconds, exp: seconds + 300, jti: "1" };
  const fits = await step("registriesTrustsEvaluate", 200, { ...job, body: { claims, scope: "repository:team/app:pull" } });
  assert.equal(fits.json.usable, true);
  const encoded = [{ alg: "ES256", kid: "1", typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"));
  const signed = sign("sha256", Buffer.from(encoded.join(".")), { key: workload.privateKey, dsaEncoding: "ieee-p1363" });
  await authorizeBasic("browser+job", [...encoded, signed.toString("base64url")].join("."));
  const federated = await step("getFederatedRobotToken", 200);
  assert.equal(federated.json.token.split(".").length, 3);
  await authorizeBasic(name, password);
  assert.deepEqual((await step("registriesTrustsRefusalsGet", 200, job)).json.items, []);
  await step("registriesTrustsDelete", 204, job);
  await step("issuersDelete", 204, ofIssuer);

  assert.match((await step("registriesAuthBundleGet", 200, one)).text, /^-----BEGIN CERTIFICATE-----/);
  const product = { registryId: registry, for: "distribution2", bundle: "/etc/bundle.pem" };
  assert.match((await step("registriesAuthConfigGet", 200, { parameters: product })).text, /rootcertbundle: "\/etc\/bundle.pem"/);
  assert.equal((await step("registriesJwksGet", 200, one)).json.keys.length, 1);
  const service = "browser.localhost";
  const wanted = { service, scope: "repository:team/app:pull", offline_token: "false", client_id: "browser", account: "admin" };
  assert.equal((await step("registryTokenGet", 200, { parameters: wanted })).json.expires_in, 300);
  const login = { grant_type: "password", service, client_id: "browser", scope: "", access_type: "online" };
  const byForm = await step("registryTokenPost", 200, { form: { ...login, username: "explorer", password: secret, refresh_token: "" } });
  assert.equal(byForm.json.scope, "");
  const passage = { service, "X-Original-Method": "GET", "X-Original-URI": "/v2/" };
  await step("registryCheck", 200, { parameters: passage });

  const person = { name: "explorer@example.com", password: "correct horse 1", roles: [] };
  const account = (await step("accountsPost", 201, { body: { properties: person } })).json.id;
  const who = { parameters: { accountId: account } };
  assert.equal((await step("accountsGet", 200, { parameters: { offset: "0", limit: "10" } })).json.items.some(({ id }) => id === account), true);
  await step("accountsFindById", 200, who);
  const member = { parameters: { registryId: registry, accountId: account } };
  await step("registriesMembersPut", 201, { ...member, body: { level: "reader" } });
  await step("registriesMembersGet", 200, { parameters: { registryId: registry, offset: "0", limit: "10" } });
  await step("registriesMembersDelete", 204, member);
  await step("accountsPatch", 200, { ...who, body: { status: "disabled" } });
  const events = { since: "2026-01-01T00:00:00Z", until: "2126-01-01T00:00:00Z", actor: "", registry: "", subject: account, kind: "create", outcome: "success" };
  assert.equal((await step("auditGet", 200, { parameters: { ...events, limit: "10", "pagination.token": "" } })).json.items[0].subject, account);
  await step("auditExport", 200, { parameters: events });
  await authorizeBearer(scanner);
  await step("secretScanningReport", 202, { body: [{ token: "whrt_none" }] });
  await authorizeBearer(null);
  await step("accountsDelete", 204, { parameters: { ...who.parameters, revokeTokens: "true" } });

  const patched = await step("registriesTokensPatch", 200, { ...token, body: { status: "disabled", expiryDate: null } });
  assert.equal(patched.json.metadata.state, "disabled");
  await step("registriesTokensPut", 200, { ...token, body: { properties: { name: "explorer" } } });
  await step("registriesTokensDelete", 204, token);
  await step("registriesDelete", 204, one);

  await step("Ping", 200);
  assert.equal((await step("GetAuthStatus", 200)).json.userId, name);
  const { roleNames } = (await step("ListAllowedTokenRoles", 200)).json;
  assert.ok(roleNames.includes("Continuous Integration"));
  const wish = { name: "explorer", roles: ["Continuous Integration"] };
  const { id } = (await step("GenerateToken", 200, { body: wish })).json.metadata;
  assert.ok((await step("GetAPITokens", 200)).json.tokens.some((token) => token.id === id));
  await step("GetAPIToken", 200, { parameters: { id } });
  await step("RevokeToken", 200, { parameters: { id } });
  for (const whose of ["meApiTokens", "apiTokens"]) {
    assert.ok((await step(`${whose}Get`, 200)).json.items.some((token) => token.id === id));
    await step(`${whose}Delete`, 204, { parameters: { apiTokenId: id } });
  }

  const app = (await step("createAppToken", 201, { body: { title: "explorer" } })).json.token;
  assert.match(app.token_code, /^[0-9A-Z]{120}$/);
  const its = { parameters: { token_uuid: app.uuid } };
  assert.equal((await step("getAppToken", 200, its)).json.token.token_code, app.token_code);
  for (const list of ["listAppTokens", "listAllAppTokens"]) {
    assert.ok((await step(list, 200)).json.tokens.some(({ uuid }) => uuid === app.uuid));
  }
  await step("revokeAppToken", 204, its);
  for (const whose of ["meAppTokens", "appTokens"]) {
    const { uuid } = (await step("createAppToken", 201, { body: { title: whose } })).json.token;
    assert.ok((await step(`${whose}Get`, 200)).json.items.some(({ id }) => id === uuid));
    await step(`${whose}Delete`, 204, { parameters: { appTokenId: uuid } });
  }
  await step("getErrorDescription", 200, { parameters: { error_type: "not_found" } });
  const proof = (csrf) => ({ parameters: { "X-CSRF-Token": csrf } });
  const visited = await step("getCsrfToken", 200);
  const signedIn = await step("signinUser", 200, { ...proof(visited.json.csrf_token), body: { username: name, password } });
  await step("logout", 200, proof(signedIn.headers["x-next-csrf-token"]));

  const document = await (await fetch(`${base}/openapi.json`)).json();
  assert.deepEqual([...used].sort(), idsOf(document), "an operation was not tried");
});

test("the examples that the forms are filled with work as they are", async () => {
  await page.goto(`${base}/docs/`, { waitUntil: "networkidle" });
  await page.locator("button.authorize").first().click();
  const form = page.locator(".auth-container").first();
  await form.locator('input[name="username"]').fill(name);
  await form.locator('input[name="password"]').fill(password);
  await form.locator('button[type="submit"]').click();
  await page.locator(".btn-done").first().click();
  const registry = await execute("registriesPost");
  assert.equal(registry.status, 201, JSON.stringify(registry.json));
  const token = await execute("registriesTokensPost", { parameters: { registryId: registry.json.id } });
  assert.equal(token.status, 201, JSON.stringify(token.json));
  const parameters = { registryId: registry.json.id, tokenId: token.json.id };
  assert.equal((await execute("registriesTokensPatch", { parameters })).status, 200);
  assert.equal((await execute("registriesTokensEvaluate", { parameters })).status, 200);
  assert.equal((await execute("registriesTokensRotate", { parameters })).status, 200);
  assert.equal((await execute("registriesDelete", { parameters: { registryId: registry.json.id } })).status, 204);
});

test("credentials are kept nowhere", async () => {
  assert.equal(await page.locator("button.authorize.locked").count(), 1);
  await page.locator("select#select").selectOption({ index: 1 });
  await page.locator("button.authorize.unlocked").waitFor();
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.equal(kept.includes(password), false);
  assert.equal(kept.includes(Buffer.from(`${name}:${password}`).toString("base64")), false);
});

test("nothing left the machine and nothing was complained about", () => {
  const foreign = asked.filter((url) => !url.startsWith(`${base}/`) && !url.startsWith("data:"));
  assert.deepEqual(foreign, []);
  // Chromium reports every answer of 400 and above as an error of loading; the name that is free is one such.
  const own = complaints.filter((text) => !/Failed to load resource: .* status of 404/.test(text));
  assert.deepEqual(own, []);
});

test("a page of another origin can neither write nor read", async () => {
  const evil = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end(`<form id=f method=post enctype=text/plain action="${base}/registries">
      <input name='{"properties":{"name":"evil","location":"de/fra","x":"' value='"}}'></form>`);
  });
  await new Promise((resolve) => evil.listen(0, "127.0.0.1", resolve));
  try {
    const context = await browser.newContext({
      // The worst case: the browser has the credentials and sends them along.
      httpCredentials: { username: name, password, origin: base },
    });
    const other = await context.newPage();
    const origin = `http://localhost:${evil.address().port}`;
    await other.goto(origin);
    const [answer] = await Promise.all([
      other.waitForResponse((response) => response.url() === `${base}/registries`),
      other.evaluate(() => document.getElementById("f").submit()),
    ]);
    assert.equal(answer.status(), 403);
    await other.waitForURL(`${base}/registries`);

    await other.goto(origin);
    const outcome = await other.evaluate(async (url) => {
      const tries = {};
      for (const [what, init] of Object.entries({
        read: {},
        simple: { method: "POST", mode: "no-cors", body: "{}" },
        json: { method: "POST", headers: { "content-type": "application/json" }, body: "{}" },
      })) {
        tries[what] = await fetch(url, { credentials: "include", ...init }).then(
          (response) => `${response.type} ${response.status}`,
          (error) => error.name,
        );
      }
      return tries;
    }, `${base}/registries`);
    // Cross-Origin-Resource-Policy keeps even the opaque answer from the page; the list below shows that it was a refusal.
    assert.deepEqual(outcome, { read: "TypeError", simple: "TypeError", json: "TypeError" });
    await context.close();
  } finally {
    evil.close();
  }
  const authorization = `Basic ${Buffer.from(admin).toString("base64")}`;
  const registries = await (await fetch(`${base}/registries`, { headers: { authorization } })).json();
  assert.deepEqual(registries.items, []);
});
