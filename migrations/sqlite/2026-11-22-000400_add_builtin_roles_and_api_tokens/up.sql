-- The built-in roles of StackRox, whose scripts name them. Resources that mean nothing to this service are kept, so
-- that who may mint which role is decided as there.
INSERT INTO roles (name, description, built_in) VALUES
    ('Configuration Controller', 'For StackRox''s configuration controller; permits nothing here', 1),
    ('Continuous Integration', 'Makes registry tokens, pulls and pushes', 1),
    ('Network Graph Viewer', 'Views StackRox''s network graph; permits nothing here', 1),
    ('None', 'Permits nothing; an API token with no other role opens nothing', 1),
    ('Sensor Creator', 'Makes registry tokens', 1),
    ('Vulnerability Management Approver', 'Approves StackRox''s vulnerability exceptions; permits nothing here', 1),
    ('Vulnerability Management Requester', 'Requests StackRox''s vulnerability exceptions; permits nothing here', 1),
    ('Vulnerability Report Creator', 'Makes StackRox''s vulnerability reports; permits nothing here', 1);
INSERT INTO role_permissions (role_key, resource, level)
    SELECT roles.key, granted.resource, granted.level FROM (
        SELECT 'Configuration Controller' AS role, 'WorkflowAdministration' AS resource, 2 AS level
        UNION ALL SELECT 'Continuous Integration', 'Detection', 1
        UNION ALL SELECT 'Continuous Integration', 'Image', 2
        UNION ALL SELECT 'Continuous Integration', 'Token', 2
        UNION ALL SELECT 'Network Graph Viewer', 'Deployment', 1
        UNION ALL SELECT 'Network Graph Viewer', 'NetworkGraph', 1
        UNION ALL SELECT 'Network Graph Viewer', 'NetworkPolicy', 1
        UNION ALL SELECT 'Sensor Creator', 'Token', 2
        UNION ALL SELECT 'Vulnerability Management Approver', 'VulnerabilityManagementApprovals', 2
        UNION ALL SELECT 'Vulnerability Management Requester', 'VulnerabilityManagementRequests', 2
        UNION ALL SELECT 'Vulnerability Report Creator', 'WorkflowAdministration', 2
    ) AS granted JOIN roles ON roles.name = granted.role;

-- The token itself is signed and never kept; its jti is the uuid. roles: names, in their order.
CREATE TABLE api_tokens (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL UNIQUE,
    account_key BIGINT NOT NULL,
    created_by BLOB NOT NULL,
    created_by_name TEXT NOT NULL,
    name TEXT NOT NULL,
    roles TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoked_by BLOB,
    noticed_at BIGINT,
    used_at BIGINT
);
CREATE INDEX api_tokens_revoked_at ON api_tokens (revoked_at);
CREATE INDEX api_tokens_expires_at ON api_tokens (expires_at);
CREATE INDEX api_tokens_account ON api_tokens (account_key);
