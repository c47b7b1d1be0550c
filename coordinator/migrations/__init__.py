"""The schema of coordinator, version by version; see `shared.migrations`."""
