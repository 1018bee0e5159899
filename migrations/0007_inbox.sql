-- What gateways tell unasked, and what followed from it.

-- +goose Up
CREATE TABLE inbox (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at        timestamptz NOT NULL DEFAULT now(),
    times_received     integer     NOT NULL DEFAULT 1,
    gateway            text        NOT NULL,
    merchant_account   text        NOT NULL,
    kind               text        NOT NULL,
    code               text        NOT NULL,
    gateway_reference  text        NOT NULL,
    original_reference text        NOT NULL DEFAULT '',
    reference          text        NOT NULL DEFAULT '',
    amount_minor       bigint      NOT NULL DEFAULT 0,
    currency           text        NOT NULL DEFAULT '',
    token              text        NOT NULL DEFAULT '',
    shopper_reference  text        NOT NULL DEFAULT '',
    signed             boolean     NOT NULL,
    document           jsonb       NOT NULL,
    digest             bytea       NOT NULL,
    state              text        NOT NULL DEFAULT 'stored',
    verdict            text        NOT NULL DEFAULT '',
    reason             text        NOT NULL DEFAULT '',
    charge_id          bigint,
    attempt            integer,
    tries              integer     NOT NULL DEFAULT 0,
    next_try_at        timestamptz,
    applied_at         timestamptz,
    CONSTRAINT inbox_events_are_stored_once UNIQUE (digest),
    CONSTRAINT inbox_state_is_known CHECK (state IN ('stored', 'waiting', 'applied', 'kept', 'quarantined')),
    CONSTRAINT inbox_next_try_is_for_open_events CHECK ((state IN ('stored', 'waiting')) = (next_try_at IS NOT NULL)),
    CONSTRAINT inbox_quarantine_has_a_reason CHECK (state <> 'quarantined' OR reason <> ''),
    CONSTRAINT inbox_events_with_effect_are_signed CHECK (signed OR kind = 'other')
);
COMMENT ON TABLE inbox IS 'Every webhook event that was acknowledged, once each. stored and waiting ones are applied by the daemons; a quarantined one matches nothing that is known.';
COMMENT ON COLUMN inbox.digest IS 'SHA-256 over what makes two deliveries one event: account, kind, code, references, token.';
COMMENT ON COLUMN inbox.document IS 'What is kept of the message: the fields that contauth reads, and no others.';
CREATE INDEX inbox_to_apply ON inbox (next_try_at, id) WHERE next_try_at IS NOT NULL;
CREATE INDEX inbox_by_gateway_reference ON inbox (gateway_reference);
CREATE INDEX inbox_by_charge ON inbox (charge_id) WHERE charge_id IS NOT NULL;
CREATE INDEX inbox_quarantined ON inbox (original_reference) WHERE state = 'quarantined';

CREATE TABLE charge_reversals (
    charge_id      bigint      PRIMARY KEY,
    refunded_minor bigint      NOT NULL,
    disputed_minor bigint      NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT charge_reversals_are_not_negative CHECK (refunded_minor >= 0 AND disputed_minor >= 0)
);
COMMENT ON TABLE charge_reversals IS 'What was taken back of a charge, added up from the events in the inbox. A charge without a row has nothing reversed.';

ALTER TABLE observations
    DROP CONSTRAINT observation_source_is_known,
    ADD CONSTRAINT observation_source_is_known CHECK (source IN ('api', 'replay', 'resolver', 'webhook', 'person'));

-- +goose Down
DELETE FROM observations WHERE source = 'webhook';
ALTER TABLE observations
    DROP CONSTRAINT observation_source_is_known,
    ADD CONSTRAINT observation_source_is_known CHECK (source IN ('api', 'replay', 'resolver', 'person'));
DROP TABLE charge_reversals;
DROP TABLE inbox;
