DROP TABLE registry_counters;
DROP TABLE registries;
