"""The schema of payment, version by version; see `shared.migrations`."""
