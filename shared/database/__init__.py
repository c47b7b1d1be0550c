"""Stores behind one port: a rule is a plain function over a SQLAlchemy `Connection`."""
