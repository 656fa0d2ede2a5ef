ALTER TABLE api_tokens DROP COLUMN description;
ALTER TABLE accounts DROP COLUMN description;
ALTER TABLE registries DROP COLUMN labels;
ALTER TABLE registries DROP COLUMN description;
ALTER TABLE tokens DROP COLUMN labels;
