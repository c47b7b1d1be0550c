"""The schema of order, version by version; see `shared.migrations`."""
