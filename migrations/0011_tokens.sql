-- The life of tokens: what is known of their cards, what happened to them, sessions and verifications.

-- +goose Up
CREATE TABLE cards (
    token_id              bigint      PRIMARY KEY REFERENCES tokens (id),
    brand                 text        NOT NULL DEFAULT '',
    funding               text        NOT NULL DEFAULT '',
    last_four             text        NOT NULL DEFAULT '',
    expires               date,
    fingerprint           text        NOT NULL DEFAULT '',
    changed_at            timestamptz,
    changed_by_gateway    boolean     NOT NULL DEFAULT false,
    read_at               timestamptz,
    verified_at           timestamptz,
    verification_strategy text        NOT NULL DEFAULT '',
    verification_result   text        NOT NULL DEFAULT '',
    verification_code     text        NOT NULL DEFAULT '',
    verifications         integer     NOT NULL DEFAULT 0,
    CONSTRAINT card_last_four_is_short CHECK (length(last_four) <= 4),
    CONSTRAINT card_expires_on_a_first CHECK (expires = date_trunc('month', expires)::date),
    CONSTRAINT card_verification_strategy_is_known CHECK (verification_strategy IN ('', 'ACQUIRER', 'BASIC', 'NONE'))
);
COMMENT ON TABLE cards IS 'What gateways tell of the payment method behind a token. For people and for the times of reading and verifying: no charge needs a row.';
COMMENT ON COLUMN cards.expires IS 'First day of the last month in which the card is good.';
COMMENT ON COLUMN cards.read_at IS 'When the gateway was last asked about the token, on the database''s clock.';
COMMENT ON COLUMN cards.verifications IS 'How many verifications were asked for: the last one''s number, which names it at the gateway.';
CREATE INDEX cards_by_expiry ON cards (expires) WHERE expires IS NOT NULL;
CREATE INDEX cards_by_fingerprint ON cards (fingerprint) WHERE fingerprint <> '';

CREATE TABLE token_events (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_id bigint      NOT NULL REFERENCES tokens (id),
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind     text        NOT NULL,
    state    text        NOT NULL,
    cause    text        NOT NULL DEFAULT '',
    source   text        NOT NULL,
    actor    text        NOT NULL,
    detail   text        NOT NULL DEFAULT '',
    CONSTRAINT token_event_kind_is_known CHECK (kind IN
        ('created', 'read', 'verified', 'invalid', 'reactivated', 'replaced', 'disabled', 'erased')),
    CONSTRAINT token_event_source_is_known CHECK (source IN
        ('person', 'import', 'webhook', 'poll', 'charge', 'session', 'verification')),
    CONSTRAINT token_event_is_short CHECK (length(detail) <= 1000 AND length(cause) <= 1000)
);
COMMENT ON TABLE token_events IS 'The timeline of each token, append-only. That it was imported and what was charged with it stand elsewhere: tokens.created_at and observations.';
CREATE INDEX token_events_by_token ON token_events (token_id, id);
CREATE TRIGGER token_events_stay BEFORE DELETE OR TRUNCATE ON token_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

CREATE TABLE token_sessions (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_account  text        NOT NULL REFERENCES merchant_accounts (id),
    reference         text        NOT NULL,
    purpose           text        NOT NULL,
    shopper_reference text        NOT NULL,
    token_id          bigint      REFERENCES tokens (id),
    amount_minor      bigint      NOT NULL,
    currency          currency_code NOT NULL,
    model             text        NOT NULL,
    gateway_session   text        NOT NULL DEFAULT '',
    state             text        NOT NULL DEFAULT 'open',
    detail            text        NOT NULL DEFAULT '',
    opened_by         text        NOT NULL,
    opened_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at        timestamptz NOT NULL,
    ended_at          timestamptz,
    CONSTRAINT token_sessions_have_one_reference UNIQUE (reference, merchant_account),
    CONSTRAINT token_session_purpose_is_known CHECK (purpose IN ('create')),
    CONSTRAINT token_session_state_is_known CHECK (state IN ('open', 'authorised', 'refused', 'completed')),
    CONSTRAINT token_session_amount_is_not_negative CHECK (amount_minor >= 0)
);
COMMENT ON TABLE token_sessions IS 'Sessions that were opened at a gateway so that a shopper stores a payment method. The reference comes back with the gateway''s webhooks; the token it brings belongs to the shopper of the session.';

CREATE TABLE verification_jobs (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy   text        NOT NULL,
    currency   text        NOT NULL DEFAULT '',
    selection  text        NOT NULL,
    actor      text        NOT NULL,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    CONSTRAINT verification_job_strategy_is_known CHECK (strategy IN ('ACQUIRER', 'BASIC'))
);
COMMENT ON TABLE verification_jobs IS 'Verifications of many tokens that somebody asked for at once. One that was interrupted goes on where it stopped.';

CREATE TABLE verification_items (
    job_id      bigint NOT NULL REFERENCES verification_jobs (id),
    token_id    bigint NOT NULL REFERENCES tokens (id),
    taken_until timestamptz,
    done_at     timestamptz,
    result      text   NOT NULL DEFAULT '',
    PRIMARY KEY (job_id, token_id)
);
CREATE INDEX verification_items_to_do ON verification_items (job_id, token_id) WHERE done_at IS NULL;
COMMENT ON TABLE verification_items IS 'The tokens of a verification job. An item that was taken and not done is free again after taken_until: asking about a card twice moves no money.';

-- +goose Down
DROP TABLE verification_items;
DROP TABLE verification_jobs;
DROP TABLE token_sessions;
DROP TABLE token_events;
DROP TABLE cards;
