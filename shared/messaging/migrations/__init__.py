"""The schema of messaging, version by version; see `shared.migrations`."""
