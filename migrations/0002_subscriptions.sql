-- What is agreed: tokens and the subscriptions that use them.

-- +goose Up
CREATE TABLE tokens (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_account  text        NOT NULL REFERENCES merchant_accounts (id),
    token             text        NOT NULL,
    shopper_reference text        NOT NULL,
    payment_method    text        NOT NULL DEFAULT 'scheme',
    state             text        NOT NULL DEFAULT 'unverified',
    cause             text        NOT NULL DEFAULT '',
    state_since       timestamptz NOT NULL DEFAULT now(),
    created_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tokens_are_stored_once UNIQUE (merchant_account, token),
    CONSTRAINT token_is_short CHECK (length(token) BETWEEN 1 AND 64),
    CONSTRAINT token_shopper_reference_is_short CHECK (length(shopper_reference) BETWEEN 3 AND 256),
    CONSTRAINT token_state_is_known CHECK (state IN ('unverified', 'valid', 'invalid', 'disabled')),
    CONSTRAINT token_invalid_has_a_cause CHECK (state <> 'invalid' OR cause <> '')
);
COMMENT ON TABLE tokens IS 'Stored payment methods at a gateway. A token belongs to one shopper of one merchant account, for good.';
COMMENT ON COLUMN tokens.token IS 'The gateway''s own id: Adyen storedPaymentMethodId, Mastercard token.';

CREATE TABLE subscriptions (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_id         bigint      NOT NULL REFERENCES tokens (id),
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
    currency         text        NOT NULL,
    state            text        NOT NULL DEFAULT 'active',
    reason           text        NOT NULL DEFAULT '',
    decided_by       text        NOT NULL,
    timezone         text        NOT NULL,
    merchant_account text        NOT NULL REFERENCES merchant_accounts (id),
    reference        text        NOT NULL,
    description      text        NOT NULL DEFAULT '',
    CONSTRAINT subscriptions_are_stored_once UNIQUE (merchant_account, reference),
    CONSTRAINT subscription_reference_is_plain CHECK (reference ~ '^[A-Za-z0-9._/-]{1,36}$'),
    CONSTRAINT subscription_amount_is_not_negative CHECK (amount_minor >= 0),
    CONSTRAINT subscription_currency_has_three_letters CHECK (currency ~ '^[A-Z]{3}$'),
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

-- +goose Down
DROP TABLE subscriptions;
DROP TABLE tokens;
