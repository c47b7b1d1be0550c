-- The users of the database `handfast`, made with its directory. Their passwords are files that only this
-- container, and whoever signs in with them, is given.
\set handfast `cat "${SECRETS:-/run/secrets}/database-password"`
\set debezium `cat "${SECRETS:-/run/secrets}/debezium-password"`
CREATE ROLE handfast LOGIN PASSWORD :'handfast';
-- It follows the log, and may read no table.
CREATE ROLE debezium LOGIN REPLICATION PASSWORD :'debezium';
ALTER DATABASE :"DBNAME" OWNER TO handfast;
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO debezium;
