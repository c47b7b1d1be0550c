"""What is deployed, run and held against schemas: `make test-deployment`."""
