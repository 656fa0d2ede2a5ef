-- Answers that can be given again for a short time. sealed_answer: what was made, with its secret and what was asked.
CREATE TABLE idempotency (
    account_key BIGINT NOT NULL,
    key_digest BLOB NOT NULL,
    sealed_answer BLOB NOT NULL,
    seal_key BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (account_key, key_digest)
);
CREATE INDEX idempotency_expires_at ON idempotency (expires_at);
