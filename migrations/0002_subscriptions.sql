-- What is agreed: tokens and the subscriptions that use them.

-- +goose Up
-- A domain is checked when the column is written, a constraint of the table with
-- every change of the row.
CREATE DOMAIN currency_code AS text CONSTRAINT currency_has_three_letters CHECK (length(VALUE) = 3 AND VALUE ~ '^[A-Z]+$');
COMMENT ON DOMAIN currency_code IS 'ISO 4217 alphabetic code.';

-- Keys begin with the column that tells rows apart: comparing is cheaper.
-- A pattern that counts, such as [A-Z]{3}, costs several times one that does not:
-- lengths have a test of their own here.
CREATE TABLE tokens (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_account  text        NOT NULL,
    token             text        NOT NULL,
    shopper_reference text        NOT NULL,
    payment_method    text        NOT NULL DEFAULT 'scheme',
    state             text        NOT NULL DEFAULT 'unverified',
    cause             text        NOT NULL DEFAULT '',
    state_since       timestamptz NOT NULL DEFAULT now(),
    created_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tokens_are_stored_once UNIQUE (token, merchant_account),
    CONSTRAINT token_is_short CHECK (length(token) BETWEEN 1 AND 64),
    CONSTRAINT token_shopper_reference_is_short CHECK (length(shopper_reference) BETWEEN 3 AND 256),
    CONSTRAINT token_state_is_known CHECK (state IN ('unverified', 'valid', 'invalid', 'disabled')),
    CONSTRAINT token_invalid_has_a_cause CHECK (state <> 'invalid' OR cause <> '')
);
COMMENT ON TABLE tokens IS 'Stored payment methods at a gateway. A token belongs to one shopper of one merchant account, for good.';
COMMENT ON COLUMN tokens.token IS 'The gateway''s own id: Adyen storedPaymentMethodId, Mastercard token.';

CREATE TABLE subscriptions (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_id         bigint      NOT NULL,
    amount_minor     bigint      NOT NULL,
    anchor           timestamp   NOT NULL,
    next_charge_at   timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    decided_at       timestamptz NOT NULL DEFAULT now(),
    first_cycle      integer     NOT NULL,
    next_cycle       integer     NOT NULL,
    max_cycles       integer,
    interval_count   integer     NOT NULL,
    ends_on          date,
    interval_unit    text        NOT NULL,
    currency         currency_code NOT NULL,
    state            text        NOT NULL DEFAULT 'active',
    reason           text        NOT NULL DEFAULT '',
    decided_by       text        NOT NULL,
    timezone         text        NOT NULL,
    merchant_account text        NOT NULL,
    reference        text        NOT NULL,
    description      text        NOT NULL DEFAULT '',
    CONSTRAINT subscriptions_are_stored_once UNIQUE (reference, merchant_account),
    CONSTRAINT subscription_reference_is_plain CHECK (length(reference) <= 36 AND reference ~ '^[A-Za-z0-9._/-]+$'),
    CONSTRAINT subscription_amount_is_not_negative CHECK (amount_minor >= 0),
    CONSTRAINT subscription_interval_unit_is_known CHECK (interval_unit IN ('day', 'week', 'month', 'year')),
    CONSTRAINT subscription_interval_count_is_positive CHECK (interval_count BETWEEN 1 AND 3660),
    CONSTRAINT subscription_first_cycle_is_positive CHECK (first_cycle >= 1),
    CONSTRAINT subscription_next_cycle_follows CHECK (next_cycle >= first_cycle),
    CONSTRAINT subscription_max_cycles_is_positive CHECK (max_cycles >= 1),
    CONSTRAINT subscription_state_is_known CHECK (state IN ('active', 'paused', 'past_due', 'cancelled', 'completed')),
    CONSTRAINT subscription_that_ended_has_no_next_charge CHECK (state NOT IN ('cancelled', 'completed') OR next_charge_at IS NULL),
    CONSTRAINT subscription_decision_has_a_reason CHECK (state IN ('active', 'completed') OR reason <> '')
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX subscriptions_by_next_charge ON subscriptions (next_charge_at, id) WHERE next_charge_at IS NOT NULL;
CREATE INDEX subscriptions_by_token ON subscriptions (token_id);
COMMENT ON TABLE subscriptions IS 'Agreements to charge repeatedly. Cycle n is always computed from anchor and timezone, never from cycle n-1.';
COMMENT ON COLUMN subscriptions.anchor IS 'Billing cycle anchor: local date and time of cycle 1 in timezone.';
COMMENT ON COLUMN subscriptions.first_cycle IS 'First cycle that contauth charges; earlier ones are waived with reason before_import.';
COMMENT ON COLUMN subscriptions.next_charge_at IS 'Instant of next_cycle; null when there is none.';

-- References, checked for all new rows of a statement at once (see refuse_removal).
-- A kept plan outlives the sizes that it was made for, and statistics lag behind a
-- large import. So a function either forbids every plan but look-ups in an index
-- (SET enable_...), or has its query planned anew for each statement (EXECUTE).

-- +goose StatementBegin
CREATE FUNCTION check_new_tokens() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    stray text;
BEGIN
    SELECT n.merchant_account INTO stray
      FROM (SELECT DISTINCT merchant_account FROM new_rows) n
     WHERE NOT EXISTS (SELECT FROM merchant_accounts a WHERE a.id = n.merchant_account)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a token is of merchant account %, which does not exist', stray
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'token_has_a_merchant_account';
    END IF;
    RETURN NULL;
END $$;

-- EXECUTE plans anew each time: a plan kept from one row would visit a million
-- one by one, and one kept from a million would read all tokens for one row.
CREATE FUNCTION check_new_subscriptions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    stray text;
BEGIN
    EXECUTE 'SELECT n.reference FROM new_rows n
              WHERE NOT EXISTS (SELECT FROM tokens t WHERE t.id = n.token_id AND t.merchant_account = n.merchant_account)
              LIMIT 1' INTO stray;
    IF stray IS NOT NULL THEN
        RAISE EXCEPTION 'subscription % has a token that its merchant account does not have', stray
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'subscription_has_a_token';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION check_moved_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM tokens t WHERE t.id = NEW.token_id AND t.merchant_account = NEW.merchant_account) THEN
        RAISE EXCEPTION 'subscription % has a token that its merchant account does not have', NEW.reference
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'subscription_has_a_token';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION check_new_tokens() IS 'New tokens belong to a merchant account that exists.';
COMMENT ON FUNCTION check_new_subscriptions() IS 'New subscriptions have a token of their own merchant account.';
COMMENT ON FUNCTION check_moved_subscription() IS 'A subscription that changes its token gets one of its own merchant account.';

CREATE TRIGGER tokens_refer_to_rows AFTER INSERT ON tokens
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_new_tokens();
CREATE TRIGGER tokens_stay BEFORE DELETE OR TRUNCATE ON tokens
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER tokens_keep_their_keys BEFORE UPDATE OF id, merchant_account ON tokens
    FOR EACH ROW WHEN ((OLD.id, OLD.merchant_account) <> (NEW.id, NEW.merchant_account)) EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER subscriptions_refer_to_rows AFTER INSERT ON subscriptions
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_new_subscriptions();
CREATE TRIGGER moved_subscriptions_refer_to_rows AFTER UPDATE OF token_id ON subscriptions
    FOR EACH ROW WHEN (OLD.token_id <> NEW.token_id) EXECUTE FUNCTION check_moved_subscription();
CREATE TRIGGER subscriptions_stay BEFORE DELETE OR TRUNCATE ON subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER subscriptions_keep_their_keys BEFORE UPDATE OF id, merchant_account ON subscriptions
    FOR EACH ROW WHEN ((OLD.id, OLD.merchant_account) <> (NEW.id, NEW.merchant_account)) EXECUTE FUNCTION refuse_removal();

-- +goose Down
DROP TABLE subscriptions;
DROP TABLE tokens;
DROP FUNCTION check_moved_subscription();
DROP FUNCTION check_new_subscriptions();
DROP FUNCTION check_new_tokens();
DROP DOMAIN currency_code;
