DROP TABLE exchanged_jwts;
DROP TABLE trust_refusals;
DROP TABLE trusts;
DROP TABLE issuers;
