-- Services that sign JWTs for workloads. source: discovery, jwks-url or inline; jwks and jwks_url belong to the last two.
CREATE TABLE issuers (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL UNIQUE,
    url TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    jwks_url TEXT,
    jwks TEXT,
    ca TEXT,
    algorithms TEXT NOT NULL,
    status TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by BLOB NOT NULL,
    created_by_name TEXT NOT NULL,
    modified_at BIGINT,
    modified_by BLOB,
    modified_by_name TEXT
);

-- Workloads that open a registry with JWTs of an issuer. A trust and a token of a registry never share a name_key.
-- generation: rises with each change that ends what was issued before.
CREATE TABLE trusts (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL,
    registry_key BIGINT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    issuer_key BIGINT NOT NULL,
    audience TEXT,
    claims TEXT NOT NULL,
    scopes TEXT NOT NULL,
    cidrs TEXT NOT NULL,
    maximum_life BIGINT,
    status TEXT NOT NULL,
    expires_at BIGINT,
    generation BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by BLOB NOT NULL,
    created_by_name TEXT NOT NULL,
    modified_at BIGINT,
    modified_by BLOB,
    modified_by_name TEXT,
    UNIQUE (registry_key, uuid),
    UNIQUE (registry_key, name_key)
);
CREATE INDEX trusts_registry ON trusts (registry_key, key);
CREATE INDEX trusts_issuer ON trusts (issuer_key);

-- The last refusals of a trust, one for each workload. identity: a hash of the claims that name it.
CREATE TABLE trust_refusals (
    trust_key BIGINT NOT NULL,
    identity BLOB NOT NULL,
    refused_at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    address TEXT,
    detail TEXT NOT NULL,
    PRIMARY KEY (trust_key, identity)
);
CREATE INDEX trust_refusals_refused_at ON trust_refusals (trust_key, refused_at);

-- JWTs that were exchanged, until they end: each is exchanged once. jwt: a hash of the issuer's
-- URL, and of its jti, or of the JWT without one.
CREATE TABLE exchanged_jwts (
    jwt BLOB NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (jwt)
);
CREATE INDEX exchanged_jwts_expires_at ON exchanged_jwts (expires_at);
