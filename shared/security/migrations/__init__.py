"""Versions of the record of operators' acts."""
