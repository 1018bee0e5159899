-- Which server the database may charge real cards from.

-- +goose Up
CREATE TABLE instance_binding (
    only_row          boolean     PRIMARY KEY DEFAULT true,
    system_identifier text        NOT NULL,
    timeline          integer     NOT NULL,
    database_oid      bigint      NOT NULL,
    place             text        NOT NULL,
    credentials       bytea       NOT NULL,
    bound_at          timestamptz NOT NULL DEFAULT now(),
    bound_by          text        NOT NULL,
    CONSTRAINT instance_binding_has_one_row CHECK (only_row)
);
COMMENT ON TABLE instance_binding IS 'The server that this database was on when somebody allowed it to charge real cards. A copy or a restored backup is elsewhere, or on another timeline: it must not charge what the original charged since.';
COMMENT ON COLUMN instance_binding.place IS 'Where the server listens and, if the role may know, where it keeps its data and when that was put there: a copied data directory has the same system identifier.';
COMMENT ON COLUMN instance_binding.credentials IS 'A keyed hash of the live credentials of the configuration.';

-- +goose StatementBegin
CREATE FUNCTION server_identity(OUT system_identifier text, OUT timeline integer, OUT database_oid bigint, OUT place text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    more text;
BEGIN
    SELECT c.system_identifier::text INTO system_identifier FROM pg_control_system() c;
    timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
    SELECT d.oid INTO database_oid FROM pg_database d WHERE d.datname = current_database();
    place := coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'socket');
    -- What only some roles may see. A file's change time is that of its copy,
    -- whatever else the copy preserves.
    BEGIN
        SELECT current_setting('data_directory') INTO more;
        IF more NOT LIKE '/proc/%' THEN
            place := place || ' ' || more;
        END IF;
        EXECUTE 'SELECT to_char(change AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS"Z"'') FROM pg_stat_file(''PG_VERSION'')' INTO more;
        place := place || coalesce(' made ' || more, '');
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;
    END;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION server_identity() IS 'Which server this is, as far as a server can tell: see instance_binding.';

-- +goose Down
DROP FUNCTION server_identity();
DROP TABLE instance_binding;
