DROP TABLE registry_members;
