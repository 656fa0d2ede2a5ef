// The generated client against a running server. An error in the document fails to compile or fails a check.

import assert from "node:assert/strict";
import { env } from "node:process";
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/wharfinger.js";

type Problem = components["schemas"]["ApiErrorResponse"];

const client = createClient<paths>({
  baseUrl: `${env.SERVER_URL}/containerregistries`,
  headers: { Authorization: `Basic ${Buffer.from(env.ADMIN ?? "").toString("base64")}` },
});

const locations = await client.GET("/locations");
const location = locations.data?.items[0]?.id;
assert(location);

const made = await client.POST("/registries", {
  body: {
    properties: {
      name: "typescript",
      location,
      garbageCollectionSchedule: { days: ["Friday"], time: "05:19:00+00:00" },
      features: { vulnerabilityScanning: { enabled: false } },
    },
  },
});
assert.equal(made.response.status, 201);
assert.equal(made.data?.metadata.state, "New");
const registryId = made.data?.id;
assert(registryId);

const registries = await client.GET("/registries", {
  params: { query: { "filter.name": "TYPE", limit: "10" } },
});
assert.deepEqual(registries.data?.items.map((registry) => registry.properties.hostname), ["typescript.localhost"]);

const taken = await client.HEAD("/names/{name}", { params: { path: { name: "typescript" } } });
assert.equal(taken.response.status, 200);

const minted = await client.POST("/registries/{registryId}/tokens", {
  params: { path: { registryId } },
  body: {
    properties: {
      name: "push-token",
      expiryDate: "2036-01-13T16:27:42Z",
      scopes: [{ actions: ["pull", "push"], name: "*", type: "repository" }],
      status: "enabled",
    },
  },
});
assert.match(minted.data?.properties.credentials.password ?? "", /^whrt_/);
const tokenId = minted.data?.id;
assert(tokenId);
const path = { registryId, tokenId };

const tokens = await client.GET("/registries/{registryId}/tokens", {
  params: { path: { registryId }, query: { offset: "0", limit: "1" } },
});
assert.equal(tokens.data?.total, 1);
assert.equal(tokens.data?.items[0]?.properties.credentials.password, "");

const disabled = await client.PATCH("/registries/{registryId}/tokens/{tokenId}", {
  params: { path },
  body: { status: "disabled" },
});
assert.equal(disabled.data?.properties.status, "disabled");
assert.equal(disabled.data?.properties.expiryDate, "2036-01-13T16:27:42Z");

const endless = await client.PATCH("/registries/{registryId}/tokens/{tokenId}", {
  params: { path },
  body: { expiryDate: null },
});
const expiry: string | null | undefined = endless.data?.properties.expiryDate;
assert.equal(expiry, null);
assert.equal(endless.data?.properties.status, "disabled");
assert.deepEqual(endless.data?.properties.scopes[0]?.actions, ["pull", "push"]);

const rotated = await client.POST("/registries/{registryId}/tokens/{tokenId}/rotate", {
  params: { path },
  body: { gracePeriod: "PT0S" },
});
assert.match(rotated.data?.properties.credentials.password ?? "", /^whrt_/);
assert.notEqual(rotated.data?.properties.credentials.password, minted.data?.properties.credentials.password);

const removed = await client.DELETE("/registries/{registryId}/tokens/{tokenId}", { params: { path } });
assert.equal(removed.response.status, 204);

const gone = await client.GET("/registries/{registryId}/tokens/{tokenId}", { params: { path } });
const problem: Problem | undefined = gone.error;
assert.equal(gone.data, undefined);
assert.equal(problem?.httpStatus, 404);
assert.equal(problem?.messages[0]?.errorCode, "token-not-found");

const deleted = await client.DELETE("/registries/{registryId}", { params: { path: { registryId } } });
assert.equal(deleted.response.status, 204);

console.log("the generated TypeScript client works");
