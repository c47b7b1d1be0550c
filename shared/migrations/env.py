"""What Alembic runs around the versions: it takes the connection it is given, and commits nothing itself."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
