"""What schemathesis has to know beside the document, and which of its findings are no failures.

The document says what a request may look like. It cannot say what a setting offers, what was sent before, or what
time it is; and the product's own document, which ours follows, is silent in places where the server is lenient.
"""

import json
import os
import urllib.request
from base64 import b64encode
from datetime import datetime, timedelta, timezone

import schemathesis
from hypothesis import strategies
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

ADDRESSES = strategies.one_of(
    strategies.ip_addresses(),
    strategies.builds(
        lambda address, bits: f"{address}/{min(bits, address.max_prefixlen)}",
        strategies.ip_addresses(),
        strategies.integers(0, 128),
    ),
).map(str)
schemathesis.openapi.format("address-or-network", ADDRESSES)
schemathesis.openapi.format("address", strategies.ip_addresses().map(str))

# The only instants in requests are expiries, which have to be in the future.
INSTANTS = strategies.datetimes(
    min_value=datetime(2100, 1, 1),
    max_value=datetime(9999, 12, 30),
    timezones=strategies.sampled_from([timezone.utc, timezone(timedelta(hours=-9, minutes=-30))]),
).map(datetime.isoformat)
schemathesis.openapi.format("date-time", INSTANTS)

# The pattern of periods cannot say that one of its parts has to be there.
PERIODS = strategies.sampled_from(["PT1H", "PT36H", "P1D", "P1DT12H", "P2W", "P14D", "P30D"])
schemathesis.openapi.format("period", PERIODS)

schemathesis.openapi.format("entity-tag", strategies.sampled_from(['"2a-3"', 'W/"0"', '"1-1", "2-1"']))

# The registry that `check` made for requests for JWTs.
SERVICE = "schemathesis.localhost"

# Members that the server reads as absent when they are null, since clients send them so. The product's document
# gives them no null. Here they get one, so that it is tried and has to be accepted.
NULL_IS_ABSENT = {
    "PatchTokenInput": ["status"],
    "PostAccountProperties": ["status"],
    "PatchAccountInput": ["password", "roles", "status"],
    "PostTokenProperties": ["status"],
    "PostIssuerProperties": ["status"],
    "PatchIssuerInput": ["status"],
    "PostTrustProperties": ["status"],
    "PatchTrustInput": ["status"],
    "PatchRegistryInput": ["features", "tokenVerifier"],
    "PostRegistryProperties": ["features", "tokenVerifier"],
    "RegistryFeatures": ["vulnerabilityScanning"],
    "FeatureVulnerabilityScanning": ["properties"],
}

# Members of answers that the server reads past when they are sent back. The product's document has them in no
# request; any other member that it does not have is refused.
READ_PAST = {
    "PostRegistryInput": ["id", "type", "href", "metadata"],
    "PostRegistryProperties": ["hostname", "storageUsage", "maintenanceWindow"],
    "PatchRegistryInput": ["id", "type", "href", "metadata", "maintenanceWindow"],
    "PostTokenInput": ["id", "type", "href", "metadata"],
    "PostTokenProperties": ["credentials"],
    "PatchTokenInput": ["id", "type", "href", "metadata"],
    "PostAccountInput": ["id", "type", "href", "metadata"],
    "PatchAccountInput": ["id", "type", "href", "metadata"],
}

# The lists that labels select from, and the operations that set labels.
LABELLED = ["GET /registries", "GET /tokens", "GET /registries/{registryId}/tokens"]
LABELS = [
    "POST /registries",
    "PUT /registries/{registryId}",
    "PATCH /registries/{registryId}",
    "POST /registries/{registryId}/tokens",
    "PUT /registries/{registryId}/tokens/{tokenId}",
    "PATCH /registries/{registryId}/tokens/{tokenId}",
]

# The operations that write issuers and trusts.
ISSUERS = ["POST /issuers", "PUT /issuers/{issuerId}", "PATCH /issuers/{issuerId}"]
TRUSTS = [
    "POST /registries/{registryId}/trusts",
    "PUT /registries/{registryId}/trusts/{trustId}",
    "PATCH /registries/{registryId}/trusts/{trustId}",
]

# Refusals of requests that the document permits, by operation and error code, each with the rule behind it.
RULES = {
    # Opaque: only values from a list can be sent back.
    ("GET /registries", "invalid-pagination-token"),
    ("GET /registries/{registryId}/tokens", "invalid-pagination-token"),
    ("GET /audit", "invalid-pagination-token"),
    ("GET /tokens", "invalid-pagination-token"),
    ("GET /bulk", "invalid-pagination-token"),
    ("POST /tokens/bulk", "invalid-confirmation"),
    # A dry run needs an action, and some condition; and conditions have grammars.
    ("POST /tokens/bulk", "invalid-action"),
    ("POST /tokens/bulk", "invalid-filter"),
    ("POST /tokens/bulk", "invalid-expiry-date"),
    ("POST /tokens/bulk", "invalid-can-open"),
    ("POST /tokens/bulk", "invalid-name"),
    ("POST /tokens/bulk", "invalid-label"),
    ("POST /tokens/bulk", "invalid-registry-id"),
    # JSON Schema takes 1.0 for an integer.
    ("POST /tokens/bulk", "invalid-maximum-change"),
    # A filtered list has a first part, in which offsets count.
    ("GET /tokens", "invalid-offset"),
    ("GET /registries/{registryId}/tokens", "invalid-offset"),
    # The grammar of labels' names has more than a pattern says, and an object's names have none.
    *((operation, "invalid-label") for operation in LABELLED),
    *((operation, "invalid-labels") for operation in LABELS),
    ("POST /registries/{registryId}/api-tokens", "invalid-expiry-date"),
    ("GET /tokens", "invalid-can-open"),
    ("GET /registries/{registryId}/tokens", "invalid-can-open"),
    # URLs, keys, certificates, claims and audiences have grammars, and a trust pins a claim of an issuer that is there.
    *((operation, f"invalid-{member}") for operation in ISSUERS for member in ["url", "kind", "jwks", "jwks-url", "ca", "algorithms"]),
    *(
        (operation, f"invalid-{member}")
        for operation in TRUSTS
        for member in ["issuer", "claims", "audience", "scopes", "maximum-life", "expiry-date", "name"]
    ),
    ("POST /registries/{registryId}/trusts/{trustId}/evaluate", "invalid-scopes"),
    ("POST /registries/{registryId}/trusts/{trustId}/evaluate", "invalid-claims"),
    ("POST /registries/{registryId}/trusts/{trustId}/evaluate", "invalid-jwt"),
    # A secret has a checksum.
    ("POST /tokens/lookup", "invalid-secret"),
    # No made-up text is the present password.
    ("PUT /me/password", "invalid-present-password"),
    ("PUT /me/password", "invalid-password"),
    # The contract answers a changed name or location with 400.
    ("PUT /registries/{registryId}", "invalid-name"),
    ("PUT /registries/{registryId}", "invalid-location"),
    ("PUT /registries/{registryId}/tokens/{tokenId}", "invalid-name"),
    # Scanning cannot be switched off once it is on.
    ("PUT /registries/{registryId}", "invalid-features"),
    ("PATCH /registries/{registryId}", "invalid-features"),
    # The document does not know which roles there are, and counts characters where bcrypt counts bytes.
    ("POST /accounts", "invalid-roles"),
    ("POST /accounts", "invalid-password"),
    ("PATCH /accounts/{accountId}", "invalid-roles"),
    ("GET /accounts", "invalid-roles"),
    ("PATCH /accounts/{accountId}", "invalid-password"),
    # All of a question together has bounds.
    ("POST /registries/{registryId}/tokens/{tokenId}/evaluate", "invalid-scopes"),
    # A grace, an age and a life have bounds, and a pattern cannot say that one of its parts has to be there.
    ("POST /registries/{registryId}/tokens/{tokenId}/rotate", "invalid-grace-period"),
    ("GET /registries/{registryId}/tokens", "invalid-expiring-within"),
    ("GET /registries/{registryId}/tokens", "invalid-unused-since"),
    ("POST /registries", "invalid-maximum-secret-age"),
    ("POST /registries", "invalid-default-token-life"),
    ("POST /registries", "invalid-maximum-token-life"),
    ("PUT /registries/{registryId}", "invalid-default-token-life"),
    ("PUT /registries/{registryId}", "invalid-maximum-token-life"),
    ("PATCH /registries/{registryId}", "invalid-default-token-life"),
    ("PATCH /registries/{registryId}", "invalid-maximum-token-life"),
    ("PUT /registries/{registryId}", "invalid-maximum-secret-age"),
    ("PATCH /registries/{registryId}", "invalid-maximum-secret-age"),
    # A name has few wildcards.
    ("POST /registries/{registryId}/tokens", "invalid-scopes"),
    ("PUT /registries/{registryId}/tokens/{tokenId}", "invalid-scopes"),
    ("PATCH /registries/{registryId}/tokens/{tokenId}", "invalid-scopes"),
    # An expiry has to be in the future, and between 1970 and 9999.
    ("POST /registries/{registryId}/tokens", "invalid-expiry-date"),
    ("PUT /registries/{registryId}/tokens/{tokenId}", "invalid-expiry-date"),
    ("PATCH /registries/{registryId}/tokens/{tokenId}", "invalid-expiry-date"),
    # The service is one that a registry has, and scopes have a grammar.
    ("GET /token", "service"),
    ("GET /token", "scope"),
    ("POST /token", "service"),
    ("POST /token", "scope"),
    ("GET /v2/check", "service"),
    # Required means more than there: not empty.
    ("POST /token", "username"),
    ("POST /token", "password"),
}


# Refusals by StackRox's rules that its document does not mention, by the beginning of the message.
STACKROX = {
    "GET /v1/apitokens/{id}": ["token with id '"],
    "GET /v1/apitokens": ['parsing field "revoked"'],
    "POST /v1/apitokens/generate": [
        "token name",
        "must use either role or roles",
        "must not use more than",
        "role(s) ",
        "Expiration date cannot be in the past",
    ],
}

# Quay takes anything but a few words for true, and so do we.
ANYTHING_IS_TRUE = ["GET /api/v1/user/apptoken", "GET /api/v1/superuser/apptokens"]


def locations():
    """The locations of the server's settings. The account is in Latin-1, see `run`."""
    account = f"{os.environ['SERVER_ACCOUNT_NAME']}:{os.environ['SERVER_PASSWORD']}"
    request = urllib.request.Request(
        os.environ["SERVER_URL"] + "/locations",
        headers={"Authorization": "Basic " + b64encode(account.encode("latin-1")).decode()},
    )
    with urllib.request.urlopen(request) as answer:
        return [location["id"] for location in json.load(answer)["items"]]


@schemathesis.deserializer("application/x-ndjson")
def lines(context, response):
    """An export is text; that each line is an object is for tests/audit.rs to look at."""
    return response.content.decode()


def exclude_c1(value):
    """No escape of U+0080 to U+009F means the same in all languages, so patterns let these control characters pass."""
    if isinstance(value, dict):
        if isinstance(value.get("pattern"), str):
            value["pattern"] = value["pattern"].replace(r"\x1F\x7F", r"\x1F\x7F-\x9F")
        value = list(value.values())
    for member in value if isinstance(value, list) else []:
        exclude_c1(member)


def give_periods(value):
    """Gives all that has the pattern of periods the format that makes periods."""
    if isinstance(value, dict):
        if str(value.get("pattern")).startswith("^P("):
            value["format"] = "period"
        value = list(value.values())
    for member in value if isinstance(value, list) else []:
        give_periods(member)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    exclude_c1(raw_schema)
    schemas = raw_schema["components"]["schemas"]
    schemas["PostRegistryProperties"]["properties"]["location"]["enum"] = locations()
    for name in ["PostRegistryProperties", "PatchRegistryInput"]:
        schemas[name]["properties"]["apiSubnetAllowList"]["items"]["format"] = "address-or-network"
    for name in ["PostTokenProperties", "PatchTokenInput", "PostTrustProperties", "PatchTrustInput"]:
        schemas[name]["properties"]["allowedCidrs"]["items"]["format"] = "address-or-network"
    for name in ["EvaluateTokenInput", "EvaluateTrustInput"]:
        schemas[name]["properties"]["address"]["format"] = "address"
    give_periods(raw_schema)
    # An object's names have no pattern, so most made-up ones would be refused.
    schemas["Labels"]["propertyNames"] = {"pattern": "^[a-z]{1,9}$"}
    # Only what an answer gave names a state: a made-up one would have every change refused.
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []) if isinstance(operation, dict) else []:
                if parameter["name"] == "If-Match":
                    parameter["schema"]["enum"] = ["*"]
                # Its pattern has more than made-up values are found for.
                if parameter["name"] == "If-None-Match":
                    parameter["schema"]["format"] = "entity-tag"
    # A service is the host name of a registry that is there; the document cannot say which. Nor can it say that a login
    # by password needs one.
    for path in ["/token", "/v2/check"]:
        for parameter in raw_schema["paths"][path]["get"]["parameters"]:
            if parameter["name"] == "service":
                parameter["schema"]["enum"] = [SERVICE]
    schemas["TokenForm"]["properties"]["service"]["enum"] = [SERVICE]
    schemas["TokenForm"]["properties"]["grant_type"]["enum"] = ["password"]
    schemas["TokenForm"]["required"] += ["username", "password"]
    for name, members in READ_PAST.items():
        schemas[name]["properties"].update({member: {} for member in members})
    for name, members in NULL_IS_ABSENT.items():
        properties = schemas[name]["properties"]
        for member in members:
            properties[member] = {"oneOf": [properties[member], {"type": "null"}]}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """False drops the failure: only a refusal all of whose reasons are rules above."""
    label = case.operation.label
    # The product answers a wrong method and an unknown id so, and so do we.
    if " /v1/" in label and response.status_code == 501:
        return False
    if label == "PATCH /v1/apitokens/revoke/{id}" and response.status_code == 500:
        return "does not exist" not in response.json()["message"]
    if label in ANYTHING_IS_TRUE and isinstance(failure, AcceptedNegativeData):
        return False
    # No document can say whether a resource exists or which request used a key before. Both cases are refusals.
    judged = isinstance(failure, (RejectedPositiveData, AcceptedNegativeData))
    if judged and response.status_code in (412, 422):
        return False
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    said = response.json()
    if label in STACKROX:
        return not said["message"].startswith(tuple(STACKROX[label]))
    if "errors" in said:
        codes = {error["detail"]["parameter"] for error in said["errors"]}
    else:
        codes = {message["errorCode"] for message in said["messages"]}
    return not all((case.operation.label, code) in RULES for code in codes)
