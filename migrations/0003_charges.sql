-- What is owed, and what was learnt about each attempt to charge it.

-- +goose Up
CREATE TABLE charges (
    id                  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id     bigint,
    token_id            bigint      NOT NULL,
    amount_minor        bigint      NOT NULL,
    due_at              timestamptz NOT NULL,
    next_attempt_at     timestamptz NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    decided_at          timestamptz NOT NULL DEFAULT now(),
    finished_at         timestamptz,
    attempt_started_at  timestamptz,
    lease_until         timestamptz,
    resolve_at          timestamptz,
    lease_owner         bigint,
    run_id              bigint,
    cycle               integer,
    period_start        date,
    period_end          date,
    answered            integer     NOT NULL DEFAULT 0,
    lease_no            integer     NOT NULL DEFAULT 0,
    account_settings_id integer,
    wire_version        smallint,
    replays             smallint    NOT NULL DEFAULT 0,
    state               text        NOT NULL DEFAULT 'due',
    reason              text        NOT NULL DEFAULT '',
    decided_by          text        NOT NULL,
    currency            currency_code NOT NULL,
    model               text        NOT NULL,
    merchant_account    text        NOT NULL,
    reference           text        NOT NULL,
    description         text        NOT NULL DEFAULT '',
    stop_request        text,
    stop_reason         text,
    stop_actor          text,
    CONSTRAINT charges_are_made_once UNIQUE (reference, merchant_account) WITH (fillfactor = 60),
    CONSTRAINT charge_amount_is_positive CHECK (amount_minor > 0 OR amount_minor = 0 AND state = 'waived'),
    CONSTRAINT charge_model_fits CHECK (
        model = 'Subscription' AND subscription_id IS NOT NULL AND cycle >= 1 AND period_start < period_end
        OR model = 'UnscheduledCardOnFile' AND subscription_id IS NULL AND cycle IS NULL AND period_start IS NULL AND period_end IS NULL),
    -- One constraint and not one a rule: each is read anew for every statement.
    CONSTRAINT charge_state_is_whole CHECK (CASE state
        WHEN 'due'       THEN finished_at IS NULL AND resolve_at IS NULL
        WHEN 'claimed'   THEN finished_at IS NULL AND resolve_at IS NULL
                              AND attempt_started_at IS NOT NULL AND account_settings_id IS NOT NULL AND wire_version IS NOT NULL
                              AND lease_until IS NOT NULL AND lease_owner IS NOT NULL AND run_id IS NOT NULL
        WHEN 'pending'   THEN finished_at IS NULL AND reason <> ''
                              AND attempt_started_at IS NOT NULL AND account_settings_id IS NOT NULL AND wire_version IS NOT NULL
        WHEN 'unknown'   THEN finished_at IS NULL AND reason <> ''
                              AND attempt_started_at IS NOT NULL AND account_settings_id IS NOT NULL AND wire_version IS NOT NULL
        WHEN 'held'      THEN finished_at IS NULL AND resolve_at IS NULL AND reason <> ''
        WHEN 'paid'      THEN finished_at IS NOT NULL AND resolve_at IS NULL
        WHEN 'unpaid'    THEN finished_at IS NOT NULL AND resolve_at IS NULL AND reason <> ''
        WHEN 'cancelled' THEN finished_at IS NOT NULL AND resolve_at IS NULL AND reason <> ''
        WHEN 'waived'    THEN finished_at IS NOT NULL AND resolve_at IS NULL AND reason <> ''
        ELSE false END),
    CONSTRAINT charge_answered_is_not_negative CHECK (answered >= 0),
    CONSTRAINT charge_stop_is_whole CHECK (stop_request IS NULL AND stop_reason IS NULL AND stop_actor IS NULL
        OR stop_request IN ('cancel', 'hold') AND stop_reason IS NOT NULL AND stop_actor IS NOT NULL)
) WITH (fillfactor = 45, autovacuum_analyze_scale_factor = 0.05);
COMMENT ON TABLE charges IS 'Money owed for one cycle or one unscheduled request. The row carries its open attempt: a claimed row is the written-ahead intent of attempt answered + 1.';
COMMENT ON COLUMN charges.due_at IS 'When the money fell due; never changes.';
COMMENT ON COLUMN charges.next_attempt_at IS 'Business time from which a run may take the charge.';
COMMENT ON COLUMN charges.answered IS 'Attempts with a definite answer; the open or next attempt is answered + 1.';
COMMENT ON COLUMN charges.attempt_started_at IS 'When the present attempt number was first claimed, on the database''s clock; the key''s safe life counts from it. Null when no request of that number can have left.';
COMMENT ON COLUMN charges.resolve_at IS 'Real time at which the resolver looks at an unknown or pending charge; null when only a person or a message from outside can settle it.';
COMMENT ON COLUMN charges.stop_request IS 'A person''s wish to stop a charge that is claimed, pending or unknown: the process that holds the lease obeys before it sends, and nobody sends it again.';

-- An unscheduled charge has no cycle and needs no entry here.
CREATE UNIQUE INDEX charge_cycles_are_made_once ON charges (subscription_id, cycle) WHERE subscription_id IS NOT NULL;

-- No index of charges names a column that a claim or its usual answer changes:
-- both are heap-only updates, for which the table's fill factor leaves room, and
-- which clean up after themselves: vacuum need not come often.
CREATE INDEX charges_to_resolve ON charges (resolve_at) WHERE resolve_at IS NOT NULL;

-- What is open has a table of its own instead of partial indexes, so that no
-- statement grows with the history and finishing a charge touches no index.
CREATE TABLE open_charges (
    charge_id bigint PRIMARY KEY,
    token_id  bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE open_charges IS 'Every charge that is not finished, found without reading the finished ones. Triggers of charges add rows; who finishes a charge deletes its row. A row too many does no harm: whoever reads it looks at the charge.';
CREATE INDEX open_charges_by_token ON open_charges (token_id, charge_id);

-- +goose StatementBegin
CREATE FUNCTION refuse_change_of_money() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'charge %: amount and currency cannot change after the first attempt', OLD.reference
        USING ERRCODE = 'check_violation', CONSTRAINT = 'charge_money_is_frozen';
END $$;
-- +goose StatementEnd
CREATE TRIGGER charge_money_is_frozen
    AFTER UPDATE OF amount_minor, currency ON charges FOR EACH ROW
    WHEN ((OLD.answered > 0 OR OLD.attempt_started_at IS NOT NULL)
          AND (OLD.amount_minor, OLD.currency) IS DISTINCT FROM (NEW.amount_minor, NEW.currency))
    EXECUTE FUNCTION refuse_change_of_money();

-- References, as for tokens: by look-ups in an index alone.
-- +goose StatementBegin
CREATE FUNCTION check_new_charges() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    stray text;
BEGIN
    SELECT n.reference INTO stray
      FROM new_rows n
     WHERE NOT EXISTS (SELECT FROM tokens t WHERE t.id = n.token_id AND t.merchant_account = n.merchant_account)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'charge % has a token that its merchant account does not have', stray
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'charge_has_a_token';
    END IF;
    SELECT n.reference INTO stray
      FROM new_rows n
     WHERE n.subscription_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM subscriptions s WHERE s.id = n.subscription_id AND s.merchant_account = n.merchant_account)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'charge % has a subscription that its merchant account does not have', stray
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'charge_has_a_subscription';
    END IF;
    INSERT INTO open_charges (charge_id, token_id)
    SELECT n.id, n.token_id FROM new_rows n WHERE n.finished_at IS NULL ORDER BY n.id;
    RETURN NULL;
END $$;

CREATE FUNCTION open_charge_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO open_charges (charge_id, token_id) VALUES (NEW.id, NEW.token_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE FUNCTION check_moved_charge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM tokens t WHERE t.id = NEW.token_id AND t.merchant_account = NEW.merchant_account) THEN
        RAISE EXCEPTION 'charge % has a token that its merchant account does not have', NEW.reference
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'charge_has_a_token';
    END IF;
    UPDATE open_charges SET token_id = NEW.token_id WHERE charge_id = NEW.id;
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION check_new_charges() IS 'New charges have a token, and where they are of a subscription that one, of their own merchant account. Those that are not finished are open.';
COMMENT ON FUNCTION check_moved_charge() IS 'A charge that changes its token gets one of its own merchant account.';
COMMENT ON FUNCTION open_charge_again() IS 'A finished charge that is no longer finished is open.';
CREATE TRIGGER charges_refer_to_rows AFTER INSERT ON charges
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_new_charges();
CREATE TRIGGER charges_open_again AFTER UPDATE OF finished_at ON charges
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL) EXECUTE FUNCTION open_charge_again();
CREATE TRIGGER moved_charges_refer_to_rows AFTER UPDATE OF token_id ON charges
    FOR EACH ROW WHEN (OLD.token_id <> NEW.token_id) EXECUTE FUNCTION check_moved_charge();
CREATE TRIGGER charges_keep_their_references AFTER UPDATE OF subscription_id, merchant_account ON charges
    FOR EACH ROW WHEN ((OLD.subscription_id, OLD.merchant_account) IS DISTINCT FROM (NEW.subscription_id, NEW.merchant_account))
    EXECUTE FUNCTION refuse_removal();

CREATE TABLE observations (
    id                bigint      GENERATED ALWAYS AS IDENTITY,
    charge_id         bigint      NOT NULL,
    at                timestamptz NOT NULL,
    run_id            bigint,
    attempt           integer     NOT NULL,
    counted           boolean     NOT NULL,
    source            text        NOT NULL,
    outcome           text        NOT NULL,
    reason            text        NOT NULL DEFAULT '',
    class             text        NOT NULL DEFAULT '',
    gateway_reference text        NOT NULL DEFAULT '',
    result_code       text        NOT NULL DEFAULT '',
    refusal_code      text        NOT NULL DEFAULT '',
    refusal_reason    text        NOT NULL DEFAULT '',
    raw_code          text        NOT NULL DEFAULT '',
    advice_code       text        NOT NULL DEFAULT '',
    request_hash      bytea,
    detail            text        NOT NULL DEFAULT '',
    PRIMARY KEY (charge_id, attempt, id),
    CONSTRAINT observation_attempt_is_positive CHECK (attempt >= 1),
    CONSTRAINT observation_source_is_known CHECK (source IN ('api', 'replay', 'resolver', 'person')),
    CONSTRAINT observation_outcome_is_known CHECK (outcome IN ('authorised', 'refused', 'pending', 'not_sent', 'not_processed', 'unknown')),
    CONSTRAINT observation_counts_only_answers CHECK (NOT counted OR outcome IN ('authorised', 'refused', 'not_processed'))
);
COMMENT ON TABLE observations IS 'What was learnt about an attempt, from whom and when. Rows are only added. No foreign key: they are written hundreds at a time beside the charges they name.';
COMMENT ON COLUMN observations.counted IS 'The answer used up its attempt number.';

-- +goose Down
DROP TABLE observations;
DROP TABLE open_charges;
DROP TABLE charges;
DROP FUNCTION open_charge_again();
DROP FUNCTION check_moved_charge();
DROP FUNCTION check_new_charges();
DROP FUNCTION refuse_change_of_money();
