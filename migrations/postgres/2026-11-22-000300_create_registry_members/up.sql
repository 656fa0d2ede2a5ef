-- level: owner, maintainer or reader.
CREATE TABLE registry_members (
    registry_key BIGINT NOT NULL,
    account_key BIGINT NOT NULL,
    level TEXT NOT NULL,
    PRIMARY KEY (registry_key, account_key)
);
CREATE INDEX registry_members_account_key ON registry_members (account_key);
