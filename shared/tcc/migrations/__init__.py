"""The schema of tcc, version by version; see `shared.migrations`."""
