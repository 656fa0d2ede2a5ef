"""The public Python SDK, unmodified, against a running server: the same tests for its versions 2.0.0 and 1.1.0.

SERVER_URL, ADMIN and ANALYST say where and as whom, as scripts/with-server sets them. With IONOS_TOKEN, which
tests/acceptance/with-token sets, ADMIN comes with that instead of a password.
"""

import base64
import importlib.metadata
import json
import os
import uuid
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import ionoscloud_container_registry as sdk
import pytest
from ionoscloud_container_registry import exceptions

VERSION = tuple(map(int, importlib.metadata.version("ionoscloud-container-registry").split(".")))
URL = os.environ["SERVER_URL"]
HOST = URL + "/containerregistries"
ADMIN = os.environ["ADMIN"]
ANALYST = os.environ["ANALYST"]
TOKEN = os.environ.get("IONOS_TOKEN")
SCHEDULE = {"days": ["Tuesday", "Monday"], "time": "05:19:00+00:00"}
SCOPES = [
    {"actions": ["push", "pull"], "name": "team/*", "type": "repository"},
    {"actions": ["*"], "name": "*", "type": "backup"},
]

only_2 = pytest.mark.skipif(VERSION < (2,), reason="the model of 1.1.0 cannot say it")
only_1 = pytest.mark.skipif(VERSION >= (2,), reason="2.0.0 sends what was set to None")


def connect(account, host=HOST, **headers):
    """The SDK's parts, as somebody who logs in with `name:password`."""
    # Both SDKs send Latin-1, whatever the server asks for; the passwords of the tests have such letters.
    name, password = account.split(":", 1)
    by_token = TOKEN and account == ADMIN
    credentials = {"token": TOKEN} if by_token else {"username": name, "password": password}
    client = sdk.ApiClient(sdk.Configuration(host=host, **credentials), **headers)
    return SimpleNamespace(
        locations=sdk.LocationsApi(client),
        names=sdk.NamesApi(client),
        registries=sdk.RegistriesApi(client),
        repositories=sdk.RepositoriesApi(client),
        tokens=sdk.TokensApi(client),
        artifacts=sdk.ArtifactsApi(client),
        vulnerabilities=sdk.VulnerabilitiesApi(client),
    )


def with_status(call, *arguments, **options):
    """Data and status of a `..._with_http_info` call, which 1.1.0 answers with a tuple."""
    answer = call(*arguments, **options)
    return answer[:2] if isinstance(answer, tuple) else (answer.data, answer.status_code)


def refused(status, code, call, *arguments, **options):
    """Makes a call that must end in the SDK's own exception; returns the messages of the server."""
    with pytest.raises(sdk.ApiException) as caught:
        call(*arguments, **options)
    error = caught.value
    assert error.status == status
    body = json.loads(error.body)
    assert body["httpStatus"] == status
    assert code in [message["errorCode"] for message in body["messages"]]
    if VERSION >= (2,):
        kind = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict"}
        assert type(error) is getattr(exceptions, kind[status] + "Exception")
        # The SDK parses those bodies whose status its own document declares.
        if isinstance(error.data, sdk.ApiErrorResponse):
            assert error.data.http_status == status
            assert error.data.messages[0].error_code == body["messages"][0]["errorCode"]
    return [message["message"] for message in body["messages"]]


def fresh(prefix="sdk"):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def registry_properties(**properties):
    return sdk.PostRegistryProperties(**{"name": fresh(), "location": "de/fra", **properties})


def scopes(listed=SCOPES):
    return [sdk.Scope(**scope) for scope in listed]


def plain_scopes(found):
    return [{"actions": scope.actions, "name": scope.name, "type": scope.type} for scope in found]


def new_token(**properties):
    return sdk.PostTokenInput(properties=sdk.PostTokenProperties(**{"name": fresh("token"), **properties}))


def put_token(**properties):
    return sdk.PutTokenInput(properties=sdk.PostTokenProperties(**properties))


def schedule():
    return sdk.WeeklySchedule(**SCHEDULE)


def days(found):
    return [getattr(day, "value", day) for day in found.days]


def scanning(enabled):
    return sdk.RegistryFeatures(
        vulnerability_scanning=sdk.FeatureVulnerabilityScanning(enabled=enabled)
    )


@pytest.fixture(scope="module")
def api():
    return connect(ADMIN)


@pytest.fixture
def registry(api):
    made = api.registries.registries_post(sdk.PostRegistryInput(properties=registry_properties()))
    yield made
    try:
        api.registries.registries_delete(made.id)
    except sdk.ApiException as error:
        assert error.status == 404


@pytest.fixture
def token(api, registry):
    return api.tokens.registries_tokens_post(registry.id, new_token(scopes=scopes()))


# Locations and names


def test_locations(api):
    found = api.locations.locations_get()
    assert [item.id for item in found.items] == ["de/fra", "de/txl", "es/vit"]


def test_a_name_is_free_then_taken(api, registry):
    _, status = with_status(api.names.names_check_usage_with_http_info, registry.properties.name)
    assert status == 200
    # An answer to HEAD has no body, so there is only the status.
    with pytest.raises(sdk.ApiException) as caught:
        api.names.names_check_usage(fresh())
    assert caught.value.status == 404
    assert not caught.value.body


def test_an_impossible_name(api):
    with pytest.raises(sdk.ApiException) as caught:
        api.names.names_check_usage("No_name")
    assert caught.value.status == 400


# Registries


def test_a_registry_is_made_shown_and_deleted(api):
    properties = registry_properties(
        garbage_collection_schedule=schedule(), features=scanning(False)
    )
    made, status = with_status(
        api.registries.registries_post_with_http_info, sdk.PostRegistryInput(properties=properties)
    )
    assert status == 201
    assert (made.type, made.href, made.metadata.state) == ("registry", "", "New")
    assert made.properties.hostname == ""
    assert made.metadata.created_by == ADMIN.split(":")[0]
    assert made.metadata.created_date.utcoffset() == timedelta(0)
    assert made.metadata.last_modified_date is None

    shown = api.registries.registries_find_by_id(made.id)
    assert shown.metadata.state == "Running"
    assert shown.properties.hostname.startswith(properties.name + ".")
    assert (shown.properties.name, shown.properties.location) == (properties.name, "de/fra")
    assert days(shown.properties.garbage_collection_schedule) == SCHEDULE["days"]
    assert shown.properties.garbage_collection_schedule.time == SCHEDULE["time"]
    assert shown.properties.features.vulnerability_scanning.enabled is False
    assert shown.properties.storage_usage.bytes == 0

    _, status = with_status(api.registries.registries_delete_with_http_info, made.id)
    assert status == 204
    refused(404, "registry-not-found", api.registries.registries_find_by_id, made.id)
    refused(404, "registry-not-found", api.registries.registries_delete, made.id)


def test_scanning_is_on_unless_said_otherwise(registry):
    assert registry.properties.features.vulnerability_scanning.enabled is True


def test_a_registry_is_put_at_an_id_and_replaced(api):
    wanted = str(uuid.uuid4())
    properties = registry_properties(garbage_collection_schedule=schedule())
    body = sdk.PutRegistryInput(properties=properties)
    made, status = with_status(api.registries.registries_put_with_http_info, wanted, body)
    assert (made.id, status, made.metadata.state) == (wanted, 201, "New")

    again, status = with_status(api.registries.registries_put_with_http_info, wanted, body)
    assert (status, again.metadata.state) == (200, "Running")
    assert again.metadata.last_modified_date is None, "the same again is no change"

    bare = registry_properties(name=properties.name)
    replaced, status = with_status(
        api.registries.registries_put_with_http_info, wanted, sdk.PutRegistryInput(properties=bare)
    )
    assert status == 200
    assert replaced.properties.garbage_collection_schedule is None
    assert replaced.metadata.last_modified_date >= replaced.metadata.created_date

    other = sdk.PutRegistryInput(properties=registry_properties(name=fresh("other")))
    refused(400, "invalid-name", api.registries.registries_put, wanted, other)
    api.registries.registries_delete(wanted)


def test_a_registry_is_patched(api, registry):
    patch = sdk.PatchRegistryInput(garbage_collection_schedule=schedule())
    patched, status = with_status(
        api.registries.registries_patch_with_http_info, registry.id, patch
    )
    assert status == 200
    assert days(patched.properties.garbage_collection_schedule) == SCHEDULE["days"]
    assert patched.properties.name == registry.properties.name
    assert patched.metadata.last_modified_by == ADMIN.split(":")[0]

    off = sdk.PatchRegistryInput(features=scanning(False))
    refused(400, "invalid-features", api.registries.registries_patch, registry.id, off)
    refused(404, "registry-not-found", api.registries.registries_patch, str(uuid.uuid4()), patch)


@only_2
def test_subnets_are_kept_verbatim_and_cleared(api):
    subnets = ["192.168.0.167/24", "2001:0db8:85a3::/24", "10.0.0.1"]
    made = api.registries.registries_post(
        sdk.PostRegistryInput(properties=registry_properties(api_subnet_allow_list=subnets))
    )
    assert made.properties.api_subnet_allow_list == subnets
    patch = sdk.PatchRegistryInput(api_subnet_allow_list=[])
    patched = api.registries.registries_patch(made.id, patch)
    assert patched.properties.api_subnet_allow_list == []
    api.registries.registries_delete(made.id)


def test_registries_of_one_name_or_nowhere_are_refused(api, registry):
    again = sdk.PostRegistryInput(properties=registry_properties(name=registry.properties.name))
    refused(409, "registry-exists", api.registries.registries_post, again)
    nowhere = sdk.PostRegistryInput(properties=registry_properties(location="xx/yyy"))
    refused(400, "invalid-location", api.registries.registries_post, nowhere)


def test_registries_are_listed_in_pages(api):
    common = fresh("page")
    made = [
        api.registries.registries_post(
            sdk.PostRegistryInput(properties=registry_properties(name=f"{common}-{number}"))
        )
        for number in range(5)
    ]
    found, pages, following = [], 0, ""
    while True:
        # 2.0.0 takes a text only; the empty one of the last page is what a first call may send too.
        page = api.registries.registries_get(
            filter_name=common.upper(), limit="2", pagination_token=following
        )
        assert (page.id, page.type, page.pagination.limit) == ("registries", "collection", 2)
        assert page.links.var_self.startswith(HOST + "/registries?")
        found += [item.properties.name for item in page.items]
        pages += 1
        following = page.pagination.token
        assert bool(following) == bool(page.links.next)
        if not following:
            break
    assert (found, pages) == ([registry.properties.name for registry in made], 3)
    refused(
        400, "invalid-pagination-token", api.registries.registries_get, pagination_token="made-up"
    )
    refused(400, "invalid-limit", api.registries.registries_get, limit="1001")
    for registry in made:
        api.registries.registries_delete(registry.id)


# Tokens


def test_the_password_is_shown_once(api, registry):
    made, status = with_status(
        api.tokens.registries_tokens_post_with_http_info, registry.id, new_token(name="Push-1")
    )
    assert status == 201
    assert made.properties.credentials.username == "Push-1"
    assert len(made.properties.credentials.password) >= 20

    shown = api.tokens.registries_tokens_find_by_id(registry.id, made.id)
    (listed,) = api.tokens.registries_tokens_get(registry.id).items
    patch = sdk.PatchTokenInput(status="disabled")
    patched = api.tokens.registries_tokens_patch(registry.id, made.id, patch)
    replaced = api.tokens.registries_tokens_put(registry.id, made.id, put_token(name="Push-1"))
    for later in (shown, listed, patched, replaced):
        assert later.properties.credentials.username == "Push-1"
        assert later.properties.credentials.password == ""


def test_a_token_is_made_shown_and_deleted(api, registry, token):
    assert (token.type, token.href, token.metadata.state) == ("token", "", "enabled")
    assert token.properties.status == "enabled"
    assert token.properties.expiry_date is None
    assert plain_scopes(token.properties.scopes) == SCOPES

    shown = api.tokens.registries_tokens_find_by_id(registry.id, token.id)
    assert plain_scopes(shown.properties.scopes) == SCOPES
    assert shown.metadata.created_date == token.metadata.created_date

    _, status = with_status(
        api.tokens.registries_tokens_delete_with_http_info, registry.id, token.id
    )
    assert status == 204
    for call in (api.tokens.registries_tokens_find_by_id, api.tokens.registries_tokens_delete):
        refused(404, "token-not-found", call, registry.id, token.id)


def test_a_token_is_put_at_an_id_and_replaced(api, registry):
    wanted = str(uuid.uuid4())
    body = put_token(name="put-token", scopes=scopes(), status="disabled")
    made, status = with_status(
        api.tokens.registries_tokens_put_with_http_info, registry.id, wanted, body
    )
    assert (made.id, status, made.metadata.state) == (wanted, 201, "disabled")
    secret = made.properties.credentials.password
    assert secret

    replaced, status = with_status(
        api.tokens.registries_tokens_put_with_http_info,
        registry.id,
        wanted,
        put_token(name="put-token"),
    )
    assert (status, replaced.properties.status) == (200, "enabled")
    assert replaced.properties.scopes == []
    assert replaced.properties.credentials.password == ""
    messages = refused(
        400,
        "invalid-name",
        api.tokens.registries_tokens_put,
        registry.id,
        wanted,
        put_token(name="another"),
    )
    assert '"name" cannot be changed' in messages[0]

    # DELETE and PUT of the same id is how a password is renewed.
    api.tokens.registries_tokens_delete(registry.id, wanted)
    renewed = api.tokens.registries_tokens_put(registry.id, wanted, body)
    assert renewed.id == wanted
    assert renewed.properties.credentials.password not in ("", secret)


@pytest.mark.parametrize(
    "sent",
    [
        datetime(2031, 1, 1, 2, 3, 4, tzinfo=timezone.utc),
        datetime(2031, 1, 1, 2, 3, 4, 567, tzinfo=timezone.utc),
        datetime(2031, 1, 2, 3, 4, 5, 123456, tzinfo=timezone(timedelta(hours=2))),
        datetime(2031, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
    ],
    ids=str,
)
def test_an_expiry_is_the_same_instant_whatever_its_offset(api, registry, sent):
    made = api.tokens.registries_tokens_post(registry.id, new_token(expiry_date=sent))
    assert made.properties.expiry_date == sent
    assert made.properties.expiry_date.utcoffset() == timedelta(0)
    shown = api.tokens.registries_tokens_find_by_id(registry.id, made.id)
    assert shown.properties.expiry_date == sent


def test_an_expiry_without_zone_or_in_the_past_is_refused(api, registry):
    for wrong in (datetime(2031, 1, 1, 2, 3, 4), datetime(2020, 1, 1, tzinfo=timezone.utc)):
        body = new_token(expiry_date=wrong)
        refused(400, "invalid-expiry-date", api.tokens.registries_tokens_post, registry.id, body)


def test_a_token_is_patched(api, registry, token):
    later = datetime(2032, 2, 29, 12, tzinfo=timezone.utc)
    patched, status = with_status(
        api.tokens.registries_tokens_patch_with_http_info,
        registry.id,
        token.id,
        sdk.PatchTokenInput(status="disabled", expiry_date=later),
    )
    assert (status, patched.metadata.state, patched.properties.status) == (
        200,
        "disabled",
        "disabled",
    )
    assert patched.properties.expiry_date == later
    assert plain_scopes(patched.properties.scopes) == SCOPES, "what is absent stays"
    assert patched.metadata.last_modified_by == ADMIN.split(":")[0]

    patch = sdk.PatchTokenInput(scopes=scopes(SCOPES[1:]), status="enabled")
    patched = api.tokens.registries_tokens_patch(registry.id, token.id, patch)
    assert plain_scopes(patched.properties.scopes) == SCOPES[1:], "scopes are replaced as a whole"
    assert patched.properties.expiry_date == later
    refused(
        404,
        "token-not-found",
        api.tokens.registries_tokens_patch,
        registry.id,
        str(uuid.uuid4()),
        patch,
    )


@only_2
def test_null_clears_the_expiry_and_absence_does_not(api, registry):
    sent = datetime(2031, 1, 1, tzinfo=timezone.utc)
    made = api.tokens.registries_tokens_post(registry.id, new_token(expiry_date=sent))
    patch = api.tokens.registries_tokens_patch
    absent = patch(registry.id, made.id, sdk.PatchTokenInput(status="disabled"))
    assert absent.properties.expiry_date == sent
    null = patch(registry.id, made.id, sdk.PatchTokenInput(expiry_date=None))
    assert null.properties.expiry_date is None
    assert null.properties.status == "disabled"


@only_1
def test_put_clears_the_expiry_where_a_patch_cannot(api, registry):
    sent = datetime(2031, 1, 1, tzinfo=timezone.utc)
    made = api.tokens.registries_tokens_post(registry.id, new_token(expiry_date=sent))
    patch = sdk.PatchTokenInput(expiry_date=None)
    patched = api.tokens.registries_tokens_patch(registry.id, made.id, patch)
    assert patched.properties.expiry_date == sent, "1.1.0 leaves out what is None"
    body = put_token(name=made.properties.name)
    replaced = api.tokens.registries_tokens_put(registry.id, made.id, body)
    assert replaced.properties.expiry_date is None


def test_tokens_are_listed_in_pages(api, registry):
    names = [f"token-{number}" for number in range(5)]
    for name in names:
        api.tokens.registries_tokens_post(registry.id, new_token(name=name))
    found, offset, links = [], 0, []
    while True:
        page = api.tokens.registries_tokens_get(registry.id, offset=str(offset), limit="2")
        assert (page.id, page.type, page.total) == ("tokens", "collection", 5)
        assert (page.offset, page.limit, page.count) == (offset, 2, len(page.items))
        found += [item.properties.name for item in page.items]
        links.append((bool(page.links.previous), bool(page.links.next)))
        if not page.links.next:
            break
        offset += page.limit
    assert found == names
    assert links == [(False, True), (True, True), (True, False)]
    everything = api.tokens.registries_tokens_get(registry.id)
    assert (everything.offset, everything.limit, everything.count) == (0, 100, 5)
    refused(400, "invalid-limit", api.tokens.registries_tokens_get, registry.id, limit="ten")
    refused(400, "invalid-offset", api.tokens.registries_tokens_get, registry.id, offset="-1")


def test_a_taken_token_name_is_refused_whatever_its_case(api, registry, token):
    taken = token.properties.name.upper()
    post, put = api.tokens.registries_tokens_post, api.tokens.registries_tokens_put
    refused(409, "token-exists", post, registry.id, new_token(name=taken))
    refused(409, "token-exists", put, registry.id, str(uuid.uuid4()), put_token(name=taken))


def test_all_that_is_wrong_is_said_at_once(api, registry):
    body = new_token(name="no_name", status="asleep")
    post = api.tokens.registries_tokens_post
    assert len(refused(400, "invalid-name", post, registry.id, body)) == 2
    refused(400, "invalid-status", post, registry.id, body)
    refused(400, "invalid-token-id", api.tokens.registries_tokens_find_by_id, registry.id, "x")


def test_tokens_of_an_unknown_registry(api):
    unknown = str(uuid.uuid4())
    for call, body in (
        (api.tokens.registries_tokens_get, []),
        (api.tokens.registries_tokens_post, [new_token()]),
    ):
        refused(404, "registry-not-found", call, unknown, *body)


# Permissions


def test_wrong_credentials(api, registry):
    for account in ("admin:wrong", "nobody:wrong", ":"):
        refused(401, "unauthenticated", connect(account).registries.registries_get)


def test_an_analyst_reads_and_changes_nothing(api, registry, token):
    analyst = connect(ANALYST)
    assert analyst.registries.registries_find_by_id(registry.id).id == registry.id
    assert analyst.tokens.registries_tokens_get(registry.id).total == 1
    refused(403, "forbidden", analyst.tokens.registries_tokens_delete, registry.id, token.id)
    refused(403, "forbidden", analyst.tokens.registries_tokens_post, registry.id, new_token())
    refused(403, "forbidden", analyst.registries.registries_delete, registry.id)


def test_without_the_prefix(api, registry):
    found = connect(ADMIN, host=URL).registries.registries_find_by_id(registry.id)
    assert found.properties.name == registry.properties.name


# Outside this service


def test_images_are_elsewhere(api, registry):
    # The SDKs log in to these with a bearer token only, so Basic has to be handed in as a header.
    basic = base64.b64encode(ADMIN.encode()).decode()
    client = api if TOKEN else connect(ADMIN, header_name="Authorization", header_value="Basic " + basic)
    # Any error here ends ionosctl's list and Ansible's registry_repository_info too.
    for what, call in (
        ("repositories", client.repositories.registries_repositories_get),
        ("artifacts", client.artifacts.registries_artifacts_get),
    ):
        none = call(registry.id, limit=5, order_by="-lastPush" if what == "repositories" else "-pullCount")
        assert (none.id, none.type, none.items, none.offset, none.limit) == (what, "collection", [], 0, 5)
    reads = (
        ("repository", client.repositories.registries_repositories_find_by_name, [registry.id, "a"]),
        ("vulnerability", client.vulnerabilities.vulnerabilities_find_by_id, ["CVE-2021-44228"]),
    )
    for what, call, arguments in reads:
        (message,) = refused(404, what + "-not-found", call, *arguments)
        assert "ask the registry itself" in message
    if not TOKEN:
        refused(401, "unauthenticated", api.repositories.registries_repositories_get, registry.id)
    delete = api.repositories.registries_repositories_delete
    refused(404, "repository-not-found", delete, registry.id, "a")
