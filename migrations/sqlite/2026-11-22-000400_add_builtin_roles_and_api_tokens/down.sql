DROP TABLE api_tokens;
DELETE FROM account_roles WHERE role_key IN (SELECT key FROM roles WHERE built_in = 1 AND name NOT IN ('Admin', 'Analyst'));
DELETE FROM role_permissions WHERE role_key IN (SELECT key FROM roles WHERE built_in = 1 AND name NOT IN ('Admin', 'Analyst'));
DELETE FROM roles WHERE built_in = 1 AND name NOT IN ('Admin', 'Analyst');
