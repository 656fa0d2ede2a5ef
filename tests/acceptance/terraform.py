#!/usr/bin/env python3
"""Replays what the terraform provider `ionos-cloud/ionoscloud` and the command line tool `ionosctl` send.

Neither can be installed from a package registry. What they send and what they make of the answers was measured
once with the real ones; here it is done again, in their order, with their bodies and headers, each request on a
connection of its own. SERVER_URL and ADMIN say where and as whom, as scripts/with-server sets them; IONOS_TOKEN,
which tests/acceptance/with-token sets, wins, as it does there.
"""

import base64
import http.client
import json
import os
import re
import time
import unittest
import uuid
from datetime import datetime, timezone
from urllib.parse import quote, urlsplit

URL = urlsplit(os.environ["SERVER_URL"])
PREFIX = "/containerregistries"
TOKEN = os.environ.get("IONOS_TOKEN")
BASIC = "Basic " + base64.b64encode(os.environ["ADMIN"].encode()).decode()
# Go's decoder takes only these, and the SDK adds a Z to a time of metadata that has none at its end.
GO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
DAYS = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
# How often a resource is looked at before the wait for it is given up, and the pause between.
LOOKS, PAUSE = 40, 0.25


class Client:
    """A Go client: one connection for each request, JSON by content type, times in UTC."""

    def __init__(self, user_agent):
        self.headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {TOKEN}" if TOKEN else BASIC,
            "Connection": "close",
            "User-Agent": user_agent,
        }

    def call(self, method, path, body=None):
        """Sends one request; returns status and what the body decodes to."""
        headers = dict(self.headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=30)
        try:
            connection.request(method, PREFIX + path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if not text:
            return answer.status, None
        kind = answer.headers.get("Content-Type", "")
        assert kind.split(";")[0] == "application/json", f"{method} {path}: {kind}"
        decoded = json.loads(text)
        check_as_go(decoded)
        return answer.status, decoded


def check_as_go(decoded):
    """Refuses what the Go SDKs cannot decode."""
    if isinstance(decoded, list):
        for item in decoded:
            check_as_go(item)
    elif isinstance(decoded, dict):
        for name, value in decoded.items():
            if name in ("createdDate", "lastModifiedDate", "expiryDate") and value is not None:
                assert GO_TIME.fullmatch(value), f"{name}: {value}"
            if name == "days":
                assert set(value) <= DAYS, value
            if name == "features":
                assert "vulnerabilityScanning" in value, "the provider reads through nil"
            check_as_go(value)


def name(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


class Replay(unittest.TestCase):
    """What both replays need."""

    USER_AGENT = ""

    def setUp(self):
        self.client = Client(self.USER_AGENT)

    def expect(self, status, method, path, body=None):
        found, answer = self.client.call(method, path, body)
        self.assertEqual(found, status, f"{method} {path}: {answer}")
        return answer

    def registry(self, **properties):
        body = {"properties": {"name": name("go"), "location": "de/fra", **properties}}
        made = self.expect(201, "POST", "/registries", body)
        self.addCleanup(self.client.call, "DELETE", "/registries/" + made["id"])
        return made

    def token(self, registry, **properties):
        body = {"properties": {"name": name("token"), **properties}}
        return self.expect(201, "POST", f"/registries/{registry}/tokens", body)


class Terraform(Replay):
    """The provider's resources and data sources."""

    USER_AGENT = (
        "terraform-provider/6.7.0_ionos-cloud-sdk-go-container-cr/2.1.0"
        "_hashicorp-terraform/1.11.4_terraform-plugin-sdk/v2_os/linux_arch/amd64"
    )
    SCHEDULE = {"days": ["Tuesday", "Monday"], "time": "05:19:00+00:00"}
    SUBNETS = ["192.168.0.167/24", "2001:0db8:85a3::/24", "10.0.0.1"]
    SCOPES = [
        {"actions": ["push", "pull"], "name": "Scope1", "type": "repo1"},
        {"actions": ["*"], "name": "*", "type": "backup"},
    ]

    def wait(self, path, done):
        """The provider's wait: looks at once, then again and again."""
        for _ in range(LOOKS):
            status, answer = self.client.call("GET", path)
            if done(status, answer):
                return
            time.sleep(PAUSE)
        self.fail(f"GET {path} never got there: {status} {answer}")

    def wait_until_running(self, path):
        self.wait(
            path,
            lambda status, answer: status != 200
            or answer["metadata"]["state"].upper() == "RUNNING",
        )

    def destroy(self, path):
        self.expect(204, "DELETE", path)
        self.wait(path, lambda status, _: status == 404)
        # Destroyed behind its back: 404 is as good.
        self.expect(404, "DELETE", path)

    @staticmethod
    def registry_state(answer):
        """What the provider reads into its state."""
        properties = answer["properties"]
        return {
            "name": properties["name"],
            "location": properties["location"],
            "garbageCollectionSchedule": properties.get("garbageCollectionSchedule"),
            "features": properties["features"],
            "apiSubnetAllowList": properties["apiSubnetAllowList"],
        }

    @staticmethod
    def token_state(answer):
        properties = answer["properties"]
        expiry = properties.get("expiryDate")
        return {
            "name": properties["name"],
            "scopes": properties["scopes"],
            "status": properties["status"],
            # Kept as Go prints a time, and compared to the second.
            "expiryDate": expiry
            and datetime.fromisoformat(expiry).astimezone(timezone.utc).replace(microsecond=0),
        }

    def test_registry(self):
        wanted = {
            "features": {"vulnerabilityScanning": {"enabled": False}},
            "garbageCollectionSchedule": self.SCHEDULE,
            "location": "de/fra",
            "name": name("tf"),
            "apiSubnetAllowList": self.SUBNETS,
        }
        made = self.expect(201, "POST", "/registries", {"properties": wanted})
        path = "/registries/" + made["id"]
        self.wait_until_running(path)
        # Read after create, then the second plan: what was written and what is there are the same text.
        for _ in range(2):
            self.assertEqual(self.registry_state(self.expect(200, "GET", path)), wanted)
        read = self.expect(200, "GET", path)["properties"]
        self.assertTrue(read["hostname"])
        self.assertIsInstance(read["storageUsage"]["bytes"], int)

        wanted["garbageCollectionSchedule"] = {"days": ["Friday", "Sunday"], "time": "10:00:00Z"}
        wanted["features"] = {"vulnerabilityScanning": {"enabled": True}}
        wanted["apiSubnetAllowList"] = []
        changed = {key: wanted[key] for key in wanted if key not in ("name", "location")}
        self.expect(200, "PATCH", path, changed)
        self.wait_until_running(path)
        self.assertEqual(self.registry_state(self.expect(200, "GET", path)), wanted)

        # Once on, it stays on, and the provider shows the server's error.
        off = {**changed, "features": {"vulnerabilityScanning": {"enabled": False}}}
        self.expect(400, "PATCH", path, off)
        # Import is a GET.
        self.assertEqual(self.registry_state(self.expect(200, "GET", path)), wanted)
        self.destroy(path)

    def test_registry_with_the_least(self):
        wanted = {"features": {"vulnerabilityScanning": {"enabled": True}}, "location": "de/fra"}
        wanted["name"] = name("tf")
        made = self.expect(201, "POST", "/registries", {"properties": wanted})
        path = "/registries/" + made["id"]
        self.wait_until_running(path)
        state = self.registry_state(self.expect(200, "GET", path))
        self.assertIsNone(state.pop("garbageCollectionSchedule"))
        self.assertEqual(state.pop("apiSubnetAllowList"), [])
        self.assertEqual(state, wanted)
        self.destroy(path)

    def test_token(self):
        registry = self.registry()["id"]
        tokens = f"/registries/{registry}/tokens"
        wanted = {
            "expiryDate": "2036-12-21T21:57:24Z",
            "name": "tf-token",
            "scopes": self.SCOPES,
            "status": "enabled",
        }
        made = self.expect(201, "POST", tokens, {"properties": wanted})
        path = f"{tokens}/{made['id']}"
        # State comes from this answer alone.
        credentials = made["properties"]["credentials"]
        self.assertEqual(credentials["username"], wanted["name"])
        self.assertTrue(credentials["password"])
        planned = self.token_state({"properties": wanted})
        self.assertEqual(self.token_state(made), planned)
        # An empty second plan.
        self.assertEqual(self.token_state(self.expect(200, "GET", path)), planned)

        scopes = list(reversed(self.SCOPES))
        change = {"expiryDate": "2036-01-02T03:04:05Z", "scopes": scopes, "status": "disabled"}
        self.expect(200, "PATCH", path, change)
        planned = self.token_state({"properties": {"name": "tf-token", **change}})
        read = self.expect(200, "GET", path)
        self.assertEqual(self.token_state(read), planned)
        self.assertEqual(read["properties"]["credentials"]["password"], "")

        # The argument taken out: null, always sent.
        self.expect(200, "PATCH", path, {**change, "expiryDate": None})
        read = self.expect(200, "GET", path)
        self.assertEqual(self.token_state(read), {**planned, "expiryDate": None})

        # After an import every apply sends the same values again; that must not count as a change.
        self.expect(200, "PATCH", path, {**change, "expiryDate": None})
        self.assertEqual(self.expect(200, "GET", path), read)
        self.destroy(path)

    def test_token_with_the_least(self):
        registry = self.registry()["id"]
        made = self.token(registry)
        self.assertEqual(made["properties"]["status"], "enabled")
        self.assertIsNone(made["properties"].get("expiryDate"))
        path = f"/registries/{registry}/tokens/{made['id']}"
        self.expect(200, "PATCH", path, {"expiryDate": None})
        read = self.expect(200, "GET", path)
        self.assertNotIn("lastModifiedDate", read["metadata"])
        self.destroy(path)

    def test_gone_with_its_registry(self):
        registry = self.registry()["id"]
        path = f"/registries/{registry}/tokens/{self.token(registry)['id']}"
        self.destroy("/registries/" + registry)
        # 404 takes the token out of the state.
        self.expect(404, "GET", path)

    def test_data_sources(self):
        registry = self.registry()
        made = self.token(registry["id"], expiryDate="2036-12-21T21:57:24Z", scopes=self.SCOPES)
        self.token(registry["id"])
        for wanted, path in ((registry, "/registries"), (made, f"/registries/{registry['id']}/tokens")):
            # Listed without a limit and searched here, in either way the provider has.
            items = self.expect(200, "GET", path)["items"]
            text = wanted["properties"]["name"]
            exact = [i for i in items if i["properties"]["name"].lower() == text.lower()]
            partial = [i for i in items if text[2:] in i["properties"]["name"]]
            self.assertEqual([i["id"] for i in exact], [wanted["id"]])
            self.assertEqual([i["id"] for i in partial], [wanted["id"]])
            by_id = self.expect(200, "GET", f"{path}/{wanted['id']}")
            self.assertEqual(by_id, exact[0])
            # The data source has no attribute for a password.
            for item in [*items, by_id]:
                credentials = item["properties"].get("credentials", {})
                self.assertEqual(credentials.get("password", ""), "")

    def test_locations(self):
        items = self.expect(200, "GET", "/locations")["items"]
        self.assertTrue(items and all(item["id"] for item in items))


class Ionosctl(Replay):
    """The tool's commands below `container-registry`."""

    USER_AGENT = "ionos-cloud-sdk-go/v1.0.4"

    def test_names_and_locations(self):
        taken = self.registry()["properties"]["name"]
        for wanted, text in ((200, taken), (404, name("free")), (400, "No_name")):
            status, body = self.client.call("HEAD", "/names/" + text)
            self.assertEqual((status, body), (wanted, None))
        self.expect(200, "GET", "/locations")

    def test_registry(self):
        created = {
            "features": {"vulnerabilityScanning": {"enabled": True}},
            "garbageCollectionSchedule": {"days": ["Wednesday"], "time": "07:00:00Z"},
            "location": "de/fra",
            "name": name("ctl"),
        }
        made = self.expect(201, "POST", "/registries", {"properties": created})
        path = "/registries/" + made["id"]
        (found,) = self.expect(200, "GET", "/registries?filter.name=" + quote(created["name"]))["items"]
        self.assertEqual(found["id"], made["id"])

        # Without --garbage-collection-schedule-days the tool sends null.
        nothing = {"days": None, "time": "01:23:00+00:00"}
        patched = self.expect(200, "PATCH", path, {"garbageCollectionSchedule": nothing})
        self.assertEqual(
            patched["properties"]["garbageCollectionSchedule"], {"days": [], "time": nothing["time"]}
        )
        replacement = {
            "garbageCollectionSchedule": nothing,
            "location": "de/fra",
            "name": created["name"],
        }
        self.expect(200, "PUT", path, {"properties": replacement})
        # --wait asks for the resource with a depth.
        self.assertEqual(self.expect(200, "GET", path + "?depth=1")["metadata"]["state"], "Running")
        self.expect(204, "DELETE", path)
        self.expect(404, "GET", path)

    def test_token(self):
        registry = self.registry()["id"]
        made = self.token(registry, status="disabled")
        self.assertTrue(made["properties"]["credentials"]["password"])
        path = f"/registries/{registry}/tokens/{made['id']}"
        patched = self.expect(200, "PATCH", path, {"status": "enabled"})
        self.assertEqual(patched["properties"]["status"], "enabled")
        token = made["properties"]["name"]
        replaced = self.expect(200, "PUT", path, {"properties": {"name": token}})
        self.assertEqual(replaced["id"], made["id"])
        # list --all walks over all registries.
        listed = [
            item["id"]
            for one in self.expect(200, "GET", "/registries")["items"]
            for item in self.expect(200, "GET", f"/registries/{one['id']}/tokens")["items"]
        ]
        self.assertIn(made["id"], listed)
        self.expect(204, "DELETE", path)
        self.expect(404, "DELETE", path)

    def test_scopes(self):
        registry = self.registry()["id"]
        made = self.token(registry)
        path = f"/registries/{registry}/tokens/{made['id']}"
        one = {"actions": ["pull"], "name": "one", "type": "repository"}
        two = {"actions": ["*"], "name": "two", "type": "namespace"}
        for scopes in ([one], [one, two]):
            read = self.expect(200, "GET", path)["properties"]
            self.expect(200, "PATCH", path, {"scopes": scopes, "status": read["status"]})
        read = self.expect(200, "GET", path)["properties"]
        self.assertEqual(read["scopes"], [one, two])

        # Deleting a scope is deleting the token and making it again under its id.
        self.expect(204, "DELETE", path)
        body = {"properties": {"name": read["name"], "scopes": [two], "status": read["status"]}}
        renewed = self.expect(201, "PUT", path, body)
        self.assertEqual(renewed["id"], made["id"])
        self.assertEqual(renewed["properties"]["scopes"], [two])
        self.assertNotEqual(
            renewed["properties"]["credentials"]["password"],
            made["properties"]["credentials"]["password"],
        )

    def test_all_tokens(self):
        registry = self.registry()["id"]
        tokens = f"/registries/{registry}/tokens"
        for _ in range(3):
            self.token(registry)
        for item in self.expect(200, "GET", tokens)["items"]:
            self.expect(204, "DELETE", f"{tokens}/{item['id']}")
        listed = self.expect(200, "GET", tokens)
        self.assertEqual((listed["items"], listed["total"]), ([], 0))

    def test_repositories(self):
        registry = self.registry()["id"]
        # This DELETE has no Accept.
        del self.client.headers["Accept"]
        self.expect(404, "DELETE", f"/registries/{registry}/repositories/team%2Fapp")
        found = self.expect(200, "GET", f"/registries/{registry}/repositories")
        self.assertEqual((found["id"], found["items"]), ("repositories", []))


if __name__ == "__main__":
    unittest.main()
