-- The installation itself: its identity, its clock, its merchant accounts.

-- +goose Up
CREATE TABLE instance (
    only_row   boolean     PRIMARY KEY DEFAULT true,
    id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    key_secret bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT instance_has_one_row CHECK (only_row),
    CONSTRAINT instance_key_secret_has_32_bytes CHECK (octet_length(key_secret) = 32)
);
COMMENT ON TABLE instance IS 'One row: who this installation is, and the secret that idempotency keys are derived from. The secret is never rotated: an open attempt must find its key again.';

-- Four random UUIDs carry 488 bits from the server''s strong source; their
-- hash is a secret without needing an extension.
INSERT INTO instance (key_secret)
VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

CREATE TABLE test_clock (
    only_row boolean          PRIMARY KEY DEFAULT true,
    start    timestamptz      NOT NULL,
    set_at   timestamptz      NOT NULL DEFAULT now(),
    speed    double precision NOT NULL DEFAULT 1,
    CONSTRAINT test_clock_has_one_row CHECK (only_row),
    CONSTRAINT test_clock_speed_is_sane CHECK (speed >= 0 AND speed <= 1000000)
);
COMMENT ON TABLE test_clock IS 'Empty, or one row that replaces business time: start, plus the time since set_at, times speed. Leases and rates never use it.';

-- +goose StatementBegin
CREATE FUNCTION business_now() RETURNS timestamptz
LANGUAGE sql VOLATILE
RETURN coalesce(
    (SELECT c.start + (clock_timestamp() - c.set_at) * c.speed FROM test_clock c),
    clock_timestamp());
-- +goose StatementEnd
COMMENT ON FUNCTION business_now() IS 'Business time: the test clock where one is set, else the database''s own clock.';

CREATE TABLE merchant_accounts (
    id              text             PRIMARY KEY,
    gateway         text             NOT NULL,
    environment     text             NOT NULL,
    settings_id     integer          NOT NULL,
    max_in_flight   integer          NOT NULL,
    rate_per_second double precision NOT NULL DEFAULT 0,
    next_send_at    timestamptz      NOT NULL DEFAULT 'epoch',
    backoff_until   timestamptz      NOT NULL DEFAULT 'epoch',
    CONSTRAINT merchant_account_id_is_short CHECK (length(id) BETWEEN 1 AND 80),
    CONSTRAINT merchant_account_gateway_is_known CHECK (gateway IN ('adyen', 'mastercard')),
    CONSTRAINT merchant_account_environment_is_known CHECK (environment IN ('test', 'live')),
    CONSTRAINT merchant_account_max_in_flight_is_positive CHECK (max_in_flight > 0),
    CONSTRAINT merchant_account_rate_is_not_negative CHECK (rate_per_second >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE merchant_accounts IS 'One account at one gateway in one environment. Every claim locks its row: that is where all processes together keep the rate, the back-off and the number in flight.';
COMMENT ON COLUMN merchant_accounts.next_send_at IS 'The first moment of the database''s clock that no request has reserved yet; only used with a rate.';

CREATE TABLE account_settings (
    id               integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_account text        NOT NULL REFERENCES merchant_accounts (id) DEFERRABLE INITIALLY DEFERRED,
    base_url         text        NOT NULL,
    return_url       text        NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT account_settings_are_stored_once UNIQUE (merchant_account, base_url, return_url)
);
COMMENT ON TABLE account_settings IS 'What configuration puts into a request''s bytes. Rows never change, so that an open attempt is sent again with the bytes it had.';
ALTER TABLE merchant_accounts ADD CONSTRAINT merchant_account_has_settings
    FOREIGN KEY (settings_id) REFERENCES account_settings (id) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE sending_stops (
    scope  text        NOT NULL,
    name   text        NOT NULL DEFAULT '',
    reason text        NOT NULL,
    actor  text        NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, name),
    CONSTRAINT sending_stop_scope_is_known CHECK (scope IN ('all', 'merchant_account', 'gateway')),
    CONSTRAINT sending_stop_names_its_scope CHECK ((scope = 'all') = (name = ''))
);
COMMENT ON TABLE sending_stops IS 'The kill switch: while a row stands, nothing of its scope is claimed, and what is claimed but unsent is given back within 2 s.';

CREATE TABLE processes (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    version    text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE processes IS 'Each start of a process that claims charges. Leases name it.';

CREATE TABLE send_slots (
    merchant_account text        NOT NULL REFERENCES merchant_accounts (id),
    process_id       bigint      NOT NULL REFERENCES processes (id),
    slots            integer     NOT NULL,
    expires_at       timestamptz NOT NULL,
    PRIMARY KEY (merchant_account, process_id),
    CONSTRAINT send_slots_are_not_negative CHECK (slots >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE send_slots IS 'How many of an account''s max_in_flight each live process may use now. Read and written under the account''s row lock.';

CREATE TABLE audit (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at               timestamptz NOT NULL DEFAULT now(),
    actor            text        NOT NULL,
    action           text        NOT NULL,
    merchant_account text,
    object_kind      text        NOT NULL,
    object           text        NOT NULL,
    reason           text        NOT NULL DEFAULT '',
    before           jsonb,
    after            jsonb,
    CONSTRAINT audit_actor_is_named CHECK (actor <> '')
);
CREATE INDEX audit_by_object ON audit (object_kind, object, id);
COMMENT ON TABLE audit IS 'Who did what, when and why. Rows are only added.';

CREATE TABLE alerts (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    kind      text        NOT NULL,
    charge_id bigint,
    detail    text        NOT NULL,
    closed_at timestamptz
);
COMMENT ON TABLE alerts IS 'What a person must look at, such as two answers that contradict each other.';

-- Rows that others refer to are never removed and keep their keys. That is what
-- lets the references of the large tables be checked a statement at a time
-- instead of a row at a time, as foreign keys are: on import those cost more
-- than the rows themselves.
-- +goose StatementBegin
CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never removed, and never change their keys: others refer to them', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION refuse_removal() IS 'What a foreign key would say to DELETE, TRUNCATE and changes of a key.';

CREATE TRIGGER merchant_accounts_stay BEFORE DELETE OR TRUNCATE ON merchant_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER merchant_accounts_keep_their_keys BEFORE UPDATE OF id ON merchant_accounts
    FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION refuse_removal();

-- +goose Down
DROP TABLE alerts;
DROP TABLE audit;
DROP TABLE send_slots;
DROP TABLE processes;
DROP TABLE sending_stops;
ALTER TABLE merchant_accounts DROP CONSTRAINT merchant_account_has_settings;
DROP TABLE account_settings;
DROP TABLE merchant_accounts;
DROP FUNCTION refuse_removal();
DROP FUNCTION business_now();
DROP TABLE test_clock;
DROP TABLE instance;
