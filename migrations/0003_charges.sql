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
    currency            text        NOT NULL,
    model               text        NOT NULL,
    merchant_account    text        NOT NULL,
    reference           text        NOT NULL,
    description         text        NOT NULL DEFAULT '',
    stop_request        text,
    stop_reason         text,
    stop_actor          text,
    CONSTRAINT charges_are_made_once UNIQUE (merchant_account, reference),
    CONSTRAINT charge_cycles_are_made_once UNIQUE (subscription_id, cycle),
    CONSTRAINT charge_amount_is_positive CHECK (amount_minor > 0 OR amount_minor = 0 AND state = 'waived'),
    CONSTRAINT charge_currency_has_three_letters CHECK (length(currency) = 3 AND currency ~ '^[A-Z]+$'),
    CONSTRAINT charge_model_fits CHECK (
        model = 'Subscription' AND subscription_id IS NOT NULL AND cycle >= 1 AND period_start < period_end
        OR model = 'UnscheduledCardOnFile' AND subscription_id IS NULL AND cycle IS NULL AND period_start IS NULL AND period_end IS NULL),
    CONSTRAINT charge_state_is_known CHECK (state IN ('due', 'claimed', 'pending', 'unknown', 'held', 'paid', 'unpaid', 'cancelled', 'waived')),
    CONSTRAINT charge_decision_has_a_reason CHECK (state IN ('due', 'claimed', 'paid') OR reason <> ''),
    CONSTRAINT charge_finished_has_a_time CHECK ((state IN ('paid', 'unpaid', 'cancelled', 'waived')) = (finished_at IS NOT NULL)),
    CONSTRAINT charge_claimed_has_a_lease CHECK (state <> 'claimed' OR lease_until IS NOT NULL AND lease_owner IS NOT NULL AND run_id IS NOT NULL),
    CONSTRAINT charge_open_attempt_is_whole CHECK (
        state NOT IN ('claimed', 'pending', 'unknown')
        OR attempt_started_at IS NOT NULL AND account_settings_id IS NOT NULL AND wire_version IS NOT NULL),
    CONSTRAINT charge_resolve_time_is_for_open_attempts CHECK (resolve_at IS NULL OR state IN ('pending', 'unknown')),
    CONSTRAINT charge_answered_is_not_negative CHECK (answered >= 0),
    CONSTRAINT charge_stop_is_whole CHECK (stop_request IS NULL AND stop_reason IS NULL AND stop_actor IS NULL
        OR stop_request IN ('cancel', 'hold') AND stop_reason IS NOT NULL AND stop_actor IS NOT NULL)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
COMMENT ON TABLE charges IS 'Money owed for one cycle or one unscheduled request. The row carries its open attempt: a claimed row is the written-ahead intent of attempt answered + 1.';
COMMENT ON COLUMN charges.due_at IS 'When the money fell due; never changes.';
COMMENT ON COLUMN charges.next_attempt_at IS 'Business time from which a run may take the charge.';
COMMENT ON COLUMN charges.answered IS 'Attempts with a definite answer; the open or next attempt is answered + 1.';
COMMENT ON COLUMN charges.attempt_started_at IS 'When the present attempt number was first claimed, on the database''s clock; the key''s safe life counts from it. Null when no request of that number can have left.';
COMMENT ON COLUMN charges.resolve_at IS 'Real time at which the resolver looks at an unknown or pending charge; null when only a person or a message from outside can settle it.';
COMMENT ON COLUMN charges.stop_request IS 'A person''s wish to stop a charge that is claimed; the process that holds the lease obeys before it sends.';

-- Both indexes hold what is open, so that no statement grows with the history.
-- Neither names a column that a claim changes: claims stay heap-only updates.
CREATE INDEX charges_by_next_attempt ON charges (next_attempt_at, id) WHERE finished_at IS NULL;
CREATE INDEX charges_open_by_token ON charges (token_id) WHERE finished_at IS NULL;
CREATE INDEX charges_to_resolve ON charges (resolve_at) WHERE resolve_at IS NOT NULL;

-- +goose StatementBegin
CREATE FUNCTION refuse_change_of_money() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'charge %: amount and currency cannot change after the first attempt', OLD.reference
        USING ERRCODE = 'check_violation', CONSTRAINT = 'charge_money_is_frozen';
END $$;
-- +goose StatementEnd
CREATE TRIGGER charge_money_is_frozen
    BEFORE UPDATE OF amount_minor, currency ON charges FOR EACH ROW
    WHEN ((OLD.answered > 0 OR OLD.attempt_started_at IS NOT NULL)
          AND (OLD.amount_minor, OLD.currency) IS DISTINCT FROM (NEW.amount_minor, NEW.currency))
    EXECUTE FUNCTION refuse_change_of_money();

-- References, as for subscriptions.
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
    RETURN NULL;
END $$;

CREATE FUNCTION check_moved_charge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM tokens t WHERE t.id = NEW.token_id AND t.merchant_account = NEW.merchant_account) THEN
        RAISE EXCEPTION 'charge % has a token that its merchant account does not have', NEW.reference
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'charge_has_a_token';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION check_new_charges() IS 'New charges have a token, and where they are of a subscription that one, of their own merchant account.';
COMMENT ON FUNCTION check_moved_charge() IS 'A charge that changes its token gets one of its own merchant account.';
CREATE TRIGGER charges_refer_to_rows AFTER INSERT ON charges
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_new_charges();
CREATE TRIGGER moved_charges_refer_to_rows AFTER UPDATE OF token_id ON charges
    FOR EACH ROW WHEN (OLD.token_id <> NEW.token_id) EXECUTE FUNCTION check_moved_charge();
CREATE TRIGGER charges_keep_their_references BEFORE UPDATE OF subscription_id, merchant_account ON charges
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
DROP TABLE charges;
DROP FUNCTION check_moved_charge();
DROP FUNCTION check_new_charges();
DROP FUNCTION refuse_change_of_money();
