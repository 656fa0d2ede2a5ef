// The public Node SDK, unmodified, against a running server.
//
// SERVER_URL, ADMIN and ANALYST say where and as whom, as scripts/with-server sets them. With IONOS_TOKEN, which
// tests/acceptance/with-token sets, ADMIN comes with that instead of a password.

'use strict';

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { after, before, test } = require('node:test');
const sdk = require('@ionos-cloud/sdk-nodejs-container-registry');

const { SERVER_URL, ADMIN, ANALYST, IONOS_TOKEN } = process.env;
const BASE = `${SERVER_URL}/containerregistries`;
const SCHEDULE = { days: ['Tuesday', 'Monday'], time: '05:19:00+00:00' };
const SCOPES = [
  { actions: ['push', 'pull'], name: 'team/*', type: 'repository' },
  { actions: ['*'], name: '*', type: 'backup' },
];

function connect(account, basePath = BASE) {
  const colon = account.indexOf(':');
  const credentials =
    IONOS_TOKEN && account === ADMIN
      ? { apiKey: IONOS_TOKEN }
      : { username: account.slice(0, colon), password: account.slice(colon + 1) };
  const configuration = new sdk.Configuration({ basePath, ...credentials });
  // The SDK waits a second before every request, even the first, unless told to wait no longer than this.
  configuration.setMaxWaitTime(0);
  return {
    locations: new sdk.LocationsApi(configuration),
    names: new sdk.NamesApi(configuration),
    registries: new sdk.RegistriesApi(configuration),
    repositories: new sdk.RepositoriesApi(configuration),
    tokens: new sdk.TokensApi(configuration),
  };
}

// Expects a call to end in the SDK's own error, and gives the server's messages.
async function refused(status, code, call) {
  let messages;
  await assert.rejects(call, (error) => {
    assert.equal(error.isAxiosError, true);
    assert.equal(error.response.status, status);
    assert.equal(error.response.data.httpStatus, status);
    messages = error.response.data.messages;
    assert.ok(messages.some((message) => message.errorCode === code), JSON.stringify(messages));
    return true;
  });
  return messages.map((message) => message.message);
}

const fresh = (prefix = 'node') => `${prefix}-${randomUUID().slice(0, 13)}`;
const registryBody = (properties = {}) => ({
  properties: { name: fresh(), location: 'de/fra', ...properties },
});
const tokenBody = (properties = {}) => ({ properties: { name: fresh('token'), ...properties } });

const api = connect(ADMIN);
let registryId;
let registryName;

before(async () => {
  const { data } = await api.registries.registriesPost({ postRegistryInput: registryBody() });
  registryId = data.id;
  registryName = data.properties.name;
});

after(() => api.registries.registriesDelete({ registryId }));

async function postToken(properties) {
  const postTokenInput = tokenBody(properties);
  const answer = await api.tokens.registriesTokensPost({ registryId, postTokenInput });
  assert.equal(answer.status, 201);
  return answer.data;
}

const showToken = async (tokenId) =>
  (await api.tokens.registriesTokensFindById({ registryId, tokenId })).data;

test('the settings of the environment reach the server', async () => {
  process.env.IONOS_API_URL = BASE;
  const colon = ADMIN.indexOf(':');
  if (!IONOS_TOKEN) {
    process.env.IONOS_USERNAME = ADMIN.slice(0, colon);
    process.env.IONOS_PASSWORD = ADMIN.slice(colon + 1);
  }
  const locations = new sdk.LocationsApi(sdk.Configuration.fromEnv());
  const { data } = await locations.locationsGet();
  assert.deepEqual(data.items, [{ id: 'de/fra' }, { id: 'de/txl' }, { id: 'es/vit' }]);
});

test('a name is taken, free or impossible', async () => {
  const check = (name) => api.names.namesCheckUsage({ name });
  assert.equal((await check(registryName)).status, 200);
  for (const [name, status] of [[fresh(), 404], ['No_name', 400]]) {
    // An answer to HEAD has no body, so there is only the status.
    await assert.rejects(check(name), (error) => {
      assert.equal(error.response.status, status);
      assert.equal(error.response.data, '');
      return true;
    });
  }
});

test('a registry is made, shown and deleted', async () => {
  const postRegistryInput = registryBody({
    garbageCollectionSchedule: SCHEDULE,
    features: { vulnerabilityScanning: { enabled: false } },
  });
  const made = await api.registries.registriesPost({ postRegistryInput });
  assert.equal(made.status, 201);
  assert.equal(made.data.metadata.state, 'New');
  assert.equal(made.data.properties.hostname, '');
  assert.match(made.data.metadata.createdDate, /Z$/);
  assert.equal('lastModifiedDate' in made.data.metadata, false);

  const found = { registryId: made.data.id };
  const shown = (await api.registries.registriesFindById(found)).data;
  assert.equal(shown.metadata.state, 'Running');
  assert.ok(shown.properties.hostname.startsWith(`${postRegistryInput.properties.name}.`));
  assert.deepEqual(shown.properties.garbageCollectionSchedule, SCHEDULE);
  assert.equal(shown.properties.features.vulnerabilityScanning.enabled, false);

  assert.equal((await api.registries.registriesDelete(found)).status, 204);
  await refused(404, 'registry-not-found', api.registries.registriesFindById(found));
  await refused(404, 'registry-not-found', api.registries.registriesDelete(found));
});

test('a registry is put at an id, replaced and patched', async () => {
  const wanted = randomUUID();
  const body = registryBody({ garbageCollectionSchedule: SCHEDULE });
  const put = (putRegistryInput) =>
    api.registries.registriesPut({ registryId: wanted, putRegistryInput });
  const made = await put(body);
  assert.deepEqual([made.status, made.data.id], [201, wanted]);
  const again = await put(body);
  assert.equal(again.status, 200);
  assert.equal(again.data.metadata.lastModifiedDate, undefined, 'the same again is no change');
  const bare = await put(registryBody({ name: body.properties.name }));
  assert.equal(bare.data.properties.garbageCollectionSchedule, null);
  await refused(400, 'invalid-name', put(registryBody()));

  const patch = (patchRegistryInput) =>
    api.registries.registriesPatch({ registryId: wanted, patchRegistryInput });
  const patched = await patch({ garbageCollectionSchedule: SCHEDULE });
  assert.equal(patched.status, 200);
  assert.deepEqual(patched.data.properties.garbageCollectionSchedule, SCHEDULE);
  // Newer than this SDK's model, which sends what it is given.
  const subnets = ['192.168.0.167/24', '2001:0db8:85a3::/24'];
  assert.deepEqual(
    (await patch({ apiSubnetAllowList: subnets })).data.properties.apiSubnetAllowList,
    subnets,
  );
  assert.deepEqual((await patch({ apiSubnetAllowList: [] })).data.properties.apiSubnetAllowList, []);
  await refused(
    400,
    'invalid-features',
    patch({ features: { vulnerabilityScanning: { enabled: false } } }),
  );
  await api.registries.registriesDelete({ registryId: wanted });
});

test('registries of one name or nowhere are refused', async () => {
  const post = (postRegistryInput) => api.registries.registriesPost({ postRegistryInput });
  await refused(409, 'registry-exists', post(registryBody({ name: registryName })));
  await refused(400, 'invalid-location', post(registryBody({ location: 'xx/yyy' })));
});

test('registries are listed in pages', async () => {
  const common = fresh('page');
  const ids = [];
  for (let number = 0; number < 5; number += 1) {
    const postRegistryInput = registryBody({ name: `${common}-${number}` });
    ids.push((await api.registries.registriesPost({ postRegistryInput })).data.id);
  }
  const found = [];
  let pages = 0;
  let paginationToken = '';
  do {
    const { data } = await api.registries.registriesGet({
      filterName: common,
      limit: '2',
      paginationToken,
    });
    found.push(...data.items.map((item) => item.id));
    pages += 1;
    paginationToken = data.pagination.token;
    assert.equal(Boolean(data._links.next), Boolean(paginationToken));
  } while (paginationToken);
  assert.deepEqual([found, pages], [ids, 3]);
  await refused(
    400,
    'invalid-pagination-token',
    api.registries.registriesGet({ paginationToken: 'made-up' }),
  );
  await refused(400, 'invalid-limit', api.registries.registriesGet({ limit: '1001' }));
  for (const id of ids) await api.registries.registriesDelete({ registryId: id });
});

test('the password is shown once', async () => {
  const name = fresh('Push');
  const made = await postToken({ name });
  const tokenId = made.id;
  assert.equal(made.properties.credentials.username, name);
  assert.ok(made.properties.credentials.password.length >= 20);
  const { items } = (await api.tokens.registriesTokensGet({ registryId })).data;
  const one = { registryId, tokenId };
  const later = [
    await showToken(tokenId),
    items.find((item) => item.id === tokenId),
    (await api.tokens.registriesTokensPatch({ ...one, patchTokenInput: { status: 'disabled' } }))
      .data,
    (await api.tokens.registriesTokensPut({ ...one, putTokenInput: tokenBody({ name }) })).data,
  ];
  for (const token of later) {
    assert.deepEqual(token.properties.credentials, { username: name, password: '' });
  }
});

test('a token is put at an id, replaced, deleted and put again', async () => {
  const tokenId = randomUUID();
  const name = fresh('put');
  const put = (properties) =>
    api.tokens.registriesTokensPut({ registryId, tokenId, putTokenInput: { properties } });
  const made = await put({ name, scopes: SCOPES, status: 'disabled' });
  assert.deepEqual([made.status, made.data.id, made.data.metadata.state], [201, tokenId, 'disabled']);
  assert.deepEqual(made.data.properties.scopes, SCOPES);
  const replaced = await put({ name });
  assert.deepEqual(
    [replaced.status, replaced.data.properties.status, replaced.data.properties.scopes],
    [200, 'enabled', []],
  );
  const [message] = await refused(400, 'invalid-name', put({ name: 'another' }));
  assert.match(message, /"name" cannot be changed/);

  const one = { registryId, tokenId };
  assert.equal((await api.tokens.registriesTokensDelete(one)).status, 204);
  await refused(404, 'token-not-found', api.tokens.registriesTokensFindById(one));
  await refused(404, 'token-not-found', api.tokens.registriesTokensDelete(one));
  const renewed = await put({ name });
  assert.equal(renewed.data.id, tokenId);
  const secrets = [made, renewed].map((answer) => answer.data.properties.credentials.password);
  assert.ok(secrets[0] && secrets[1] && secrets[0] !== secrets[1]);
});

for (const [sent, instant] of [
  ['2031-01-01T02:03:04.123Z', '2031-01-01T02:03:04.123Z'],
  ['2031-01-02T03:04:05+02:00', '2031-01-02T01:04:05.000Z'],
  ['2031-01-02T03:04:05.123456789-09:30', '2031-01-02T12:34:05.123Z'],
  [new Date(Date.UTC(2032, 1, 29, 12)), '2032-02-29T12:00:00.000Z'],
]) {
  const as = sent instanceof Date ? 'Date' : sent;
  test(`the expiry ${as} is the same instant in UTC`, async () => {
    const made = await postToken({ expiryDate: sent });
    for (const token of [made, await showToken(made.id)]) {
      assert.match(token.properties.expiryDate, /Z$/);
      assert.equal(new Date(token.properties.expiryDate).toISOString(), instant);
    }
  });
}

test('an expiry in the past is refused', () =>
  refused(
    400,
    'invalid-expiry-date',
    api.tokens.registriesTokensPost({
      registryId,
      postTokenInput: tokenBody({ expiryDate: '2020-01-01T00:00:00Z' }),
    }),
  ));

test('a patch changes what it names, and null clears the expiry', async () => {
  const made = await postToken({ expiryDate: '2031-01-01T00:00:00Z', scopes: SCOPES });
  const patch = async (patchTokenInput) => {
    const one = { registryId, tokenId: made.id };
    const answer = await api.tokens.registriesTokensPatch({ ...one, patchTokenInput });
    assert.equal(answer.status, 200);
    return answer.data;
  };
  const disabled = await patch({ status: 'disabled' });
  assert.equal(disabled.metadata.state, 'disabled');
  assert.equal(disabled.properties.expiryDate, '2031-01-01T00:00:00Z');
  assert.deepEqual(disabled.properties.scopes, SCOPES);
  const cleared = await patch({ expiryDate: null, scopes: SCOPES.slice(1) });
  assert.equal(cleared.properties.expiryDate, null);
  assert.deepEqual(cleared.properties.scopes, SCOPES.slice(1));
  assert.equal(cleared.properties.status, 'disabled');
  assert.equal(cleared.metadata.lastModifiedBy, ADMIN.split(':')[0]);
  await refused(400, 'invalid-body', patch({ expiryDte: null }));
});

test('tokens are listed in pages', async () => {
  const { data } = await api.registries.registriesPost({ postRegistryInput: registryBody() });
  const list = async (window) =>
    (await api.tokens.registriesTokensGet({ registryId: data.id, ...window })).data;
  const names = ['one', 'two', 'three', 'four', 'five'];
  for (const name of names) {
    const postTokenInput = tokenBody({ name });
    await api.tokens.registriesTokensPost({ registryId: data.id, postTokenInput });
  }
  const found = [];
  for (const [offset, count, next] of [[0, 2, true], [2, 2, true], [4, 1, false]]) {
    const page = await list({ offset: String(offset), limit: '2' });
    assert.deepEqual([page.offset, page.limit, page.count, page.total], [offset, 2, count, 5]);
    assert.equal(Boolean(page._links.next), next);
    assert.equal(Boolean(page._links.previous), offset > 0);
    found.push(...page.items.map((item) => item.properties.name));
  }
  assert.deepEqual(found, names);
  // This SDK knows a parameter that does nothing here, and filters that there are not: with one of those all would be listed.
  assert.equal((await list({ maxResults: 3 })).total, 5);
  await refused(400, 'invalid-query', list({ filters: { 'properties.name': 'one' } }));
  await refused(400, 'invalid-limit', list({ limit: 'ten' }));
  await refused(400, 'invalid-offset', list({ offset: '-1' }));
  await api.registries.registriesDelete({ registryId: data.id });
});

test('what is wrong with a token is said', async () => {
  const post = (properties) =>
    api.tokens.registriesTokensPost({ registryId, postTokenInput: tokenBody(properties) });
  const both = await refused(400, 'invalid-name', post({ name: 'no_name', status: 'asleep' }));
  assert.equal(both.length, 2);
  const taken = await postToken();
  const name = taken.properties.name.toUpperCase();
  await refused(409, 'token-exists', post({ name }));
  const putTokenInput = tokenBody({ name });
  const tokenId = randomUUID();
  const put = api.tokens.registriesTokensPut({ registryId, tokenId, putTokenInput });
  await refused(409, 'token-exists', put);
  await refused(400, 'invalid-token-id', showToken('x'));
  const unknown = api.tokens.registriesTokensGet({ registryId: randomUUID() });
  await refused(404, 'registry-not-found', unknown);
});

test('wrong credentials', async () => {
  for (const account of ['admin:wrong', 'nobody:wrong']) {
    await refused(401, 'unauthenticated', connect(account).registries.registriesGet());
  }
});

test('an analyst reads and changes nothing', async () => {
  const analyst = connect(ANALYST);
  const tokenId = (await postToken()).id;
  assert.equal((await analyst.registries.registriesFindById({ registryId })).data.id, registryId);
  await analyst.tokens.registriesTokensFindById({ registryId, tokenId });
  await refused(403, 'forbidden', analyst.tokens.registriesTokensDelete({ registryId, tokenId }));
  await refused(403, 'forbidden', analyst.registries.registriesDelete({ registryId }));
});

test('without the prefix', async () => {
  const { data } = await connect(ADMIN, SERVER_URL).registries.registriesFindById({ registryId });
  assert.equal(data.properties.name, registryName);
});

test('images are elsewhere', async () => {
  const one = { registryId, repositoryName: 'a' };
  await refused(404, 'repository-not-found', api.repositories.registriesRepositoriesDelete(one));
  // This SDK logs in to reads of images with a bearer token only.
  const list = api.repositories.registriesRepositoriesGet({ registryId });
  if (IONOS_TOKEN) {
    const { data } = await list;
    assert.deepEqual([data.id, data.type, data.items], ['repositories', 'collection', []]);
  } else {
    await refused(401, 'unauthenticated', list);
  }
});
