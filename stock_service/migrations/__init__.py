"""The schema of stock, version by version; see `shared.migrations`."""
