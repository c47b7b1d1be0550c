"""The outboxes captured by Debezium out of PostgreSQL's log: `make test-cdc`."""
