"""The generated client against a running server."""

import os
from base64 import b64encode
from datetime import datetime, timezone
from uuid import UUID

from wharfinger_client import AuthenticatedClient
from wharfinger_client.api.locations import locations_get
from wharfinger_client.api.names import names_check_usage
from wharfinger_client.api.registries import registries_delete, registries_get, registries_post
from wharfinger_client.api.tokens import (
    registries_tokens_delete,
    registries_tokens_find_by_id,
    registries_tokens_get,
    registries_tokens_patch,
    registries_tokens_post,
    registries_tokens_rotate,
)
from wharfinger_client.models import (
    ApiErrorResponse,
    FeatureVulnerabilityScanning,
    LocationsResponse,
    PatchTokenInput,
    PostRegistryInput,
    PostRegistryProperties,
    PostTokenInput,
    PostTokenProperties,
    RegistriesResponse,
    RegistryFeatures,
    RegistryResponse,
    RotateTokenInput,
    Scope,
    TokenResponse,
    TokensResponse,
    TokenStatus,
    Weekday,
    WeeklySchedule,
)

client = AuthenticatedClient(
    base_url=os.environ["SERVER_URL"] + "/containerregistries",
    token=b64encode(os.environ["ADMIN"].encode()).decode(),
    prefix="Basic",
    raise_on_unexpected_status=True,
)

locations = locations_get.sync(client=client)
assert isinstance(locations, LocationsResponse)

registry = registries_post.sync(
    client=client,
    body=PostRegistryInput(
        properties=PostRegistryProperties(
            name="python",
            location=locations.items[0].id,
            garbage_collection_schedule=WeeklySchedule(days=[Weekday.FRIDAY], time="05:19:00+00:00"),
            features=RegistryFeatures(vulnerability_scanning=FeatureVulnerabilityScanning(enabled=False)),
        )
    ),
)
assert isinstance(registry, RegistryResponse)
assert isinstance(registry.id, UUID)
assert registry.metadata.state == "New"

registries = registries_get.sync(client=client, filter_name="PYTH", limit="10")
assert isinstance(registries, RegistriesResponse)
assert [item.properties.hostname for item in registries.items] == ["python.localhost"]

assert names_check_usage.sync_detailed("python", client=client).status_code == 200

expiry = datetime(2036, 1, 13, 16, 27, 42, tzinfo=timezone.utc)
token = registries_tokens_post.sync(
    registry.id,
    client=client,
    body=PostTokenInput(
        properties=PostTokenProperties(
            name="push-token",
            expiry_date=expiry,
            scopes=[Scope(actions=["pull", "push"], name="*", type_="repository")],
            status=TokenStatus.ENABLED,
        )
    ),
)
assert isinstance(token, TokenResponse)
assert isinstance(token.id, UUID)
assert token.properties.credentials.password.startswith("whrt_")
assert token.properties.expiry_date == expiry

tokens = registries_tokens_get.sync(registry.id, client=client, offset="0", limit="1")
assert isinstance(tokens, TokensResponse)
assert (tokens.total, tokens.items[0].properties.credentials.password) == (1, "")

disabled = registries_tokens_patch.sync(
    registry.id, token.id, client=client, body=PatchTokenInput(status=TokenStatus.DISABLED)
)
assert isinstance(disabled, TokenResponse)
assert (disabled.properties.status, disabled.properties.expiry_date) == (TokenStatus.DISABLED, expiry)

endless = registries_tokens_patch.sync(
    registry.id, token.id, client=client, body=PatchTokenInput(expiry_date=None)
)
assert isinstance(endless, TokenResponse)
assert (endless.properties.status, endless.properties.expiry_date) == (TokenStatus.DISABLED, None)
assert endless.properties.scopes[0].actions == ["pull", "push"]

rotated = registries_tokens_rotate.sync(
    registry.id, token.id, client=client, body=RotateTokenInput(grace_period="PT0S")
)
assert isinstance(rotated, TokenResponse)
assert rotated.properties.credentials.password.startswith("whrt_")
assert rotated.properties.credentials.password != token.properties.credentials.password

removed = registries_tokens_delete.sync_detailed(registry.id, token.id, client=client)
assert removed.status_code == 204

gone = registries_tokens_find_by_id.sync(registry.id, token.id, client=client)
assert isinstance(gone, ApiErrorResponse)
assert (gone.http_status, gone.messages[0].error_code) == (404, "token-not-found")

assert registries_delete.sync_detailed(registry.id, client=client).status_code == 204

print("the generated Python client works")
