DROP TABLE token_uses;
