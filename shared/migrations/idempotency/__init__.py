"""The schema of idempotency, version by version; see `shared.migrations`."""
