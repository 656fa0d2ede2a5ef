CREATE TABLE accounts (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    password_hash TEXT,
    status TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    last_login_at BIGINT,
    deleted_at BIGINT
);
CREATE UNIQUE INDEX accounts_name_key ON accounts (name_key) WHERE deleted_at IS NULL;

CREATE TABLE roles (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    built_in BIGINT NOT NULL
);

-- level: 1 read, 2 write. The resource '*' stands for every resource.
CREATE TABLE role_permissions (
    role_key BIGINT NOT NULL,
    resource TEXT NOT NULL,
    level BIGINT NOT NULL,
    PRIMARY KEY (role_key, resource)
);

CREATE TABLE account_roles (
    account_key BIGINT NOT NULL,
    position BIGINT NOT NULL,
    role_key BIGINT NOT NULL,
    PRIMARY KEY (account_key, position),
    UNIQUE (account_key, role_key)
);

INSERT INTO roles (name, description, built_in) VALUES
    ('Admin', 'Reads and writes everything', 1),
    ('Analyst', 'Reads everything', 1);
INSERT INTO role_permissions (role_key, resource, level)
    SELECT key, '*', CASE name WHEN 'Admin' THEN 2 ELSE 1 END FROM roles;
