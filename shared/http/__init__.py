"""HTTP both ways: the API that a program serves, and the port through which it calls others."""
