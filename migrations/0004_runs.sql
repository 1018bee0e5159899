-- Batches of charges: planned, frozen as a manifest, worked, accounted for.

-- +goose Up
CREATE TABLE runs (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state         text        NOT NULL DEFAULT 'planned',
    model         text        NOT NULL DEFAULT '',
    filter        jsonb       NOT NULL DEFAULT '{}',
    as_of         timestamptz NOT NULL,
    as_of_date    date,
    business_day  date        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text        NOT NULL,
    approved_at   timestamptz,
    approved_by   text,
    started_at    timestamptz,
    finished_at   timestamptz,
    progress_at   timestamptz,
    reason        text        NOT NULL DEFAULT '',
    decided_by    text        NOT NULL,
    items         integer     NOT NULL,
    manifest_hash text        NOT NULL,
    CONSTRAINT run_state_is_known CHECK (state IN ('planned', 'awaiting_approval', 'running', 'paused', 'completed', 'aborted')),
    CONSTRAINT run_model_is_known CHECK (model IN ('', 'Subscription', 'UnscheduledCardOnFile')),
    CONSTRAINT run_finished_has_a_time CHECK ((state IN ('completed', 'aborted')) = (finished_at IS NOT NULL)),
    CONSTRAINT run_manifest_hash_is_sha256 CHECK (manifest_hash ~ '^sha256:[0-9a-f]{64}$')
);
COMMENT ON TABLE runs IS 'One batch. manifest_hash is SHA-256 over the lines that contauth run show ID --manifest prints.';
COMMENT ON COLUMN runs.as_of_date IS 'Set when the run was asked for by date: it takes cycles whose local date is on or before it.';
COMMENT ON COLUMN runs.business_day IS 'The day that one charge a token and business day counts for this run: as_of_date, else the UTC date of as_of.';
CREATE INDEX runs_by_business_day ON runs (business_day);

CREATE TABLE run_items (
    run_id           bigint  NOT NULL REFERENCES runs (id),
    charge_id        bigint  NOT NULL,
    amount_minor     bigint  NOT NULL,
    token_id         bigint  NOT NULL,
    decided_at       timestamptz,
    position         integer NOT NULL,
    answered         integer NOT NULL,
    merchant_account text    NOT NULL,
    disposition      text,
    reason           text,
    PRIMARY KEY (run_id, merchant_account, position),
    CONSTRAINT run_item_disposition_is_known CHECK (disposition IN ('skipped', 'postponed', 'held')),
    CONSTRAINT run_item_disposition_has_a_reason CHECK ((disposition IS NULL) = (reason IS NULL) AND (disposition IS NULL) = (decided_at IS NULL))
) WITH (fillfactor = 95);
CREATE INDEX run_items_by_charge ON run_items (charge_id);
COMMENT ON TABLE run_items IS 'The manifest: what was approved to be charged, as it stood when it was planned. An item without a disposition is accounted for by its charge''s own state.';
COMMENT ON COLUMN run_items.answered IS 'The charge''s answered when planned; the item stands for attempt answered + 1.';

CREATE TABLE run_exclusions (
    run_id       bigint      NOT NULL REFERENCES runs (id),
    charge_id    bigint      NOT NULL,
    amount_minor bigint      NOT NULL,
    currency     currency_code NOT NULL,
    disposition  text        NOT NULL,
    reason       text        NOT NULL,
    decided_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, charge_id),
    CONSTRAINT run_exclusion_disposition_is_known CHECK (disposition IN ('skipped', 'postponed', 'held')),
    CONSTRAINT run_exclusion_has_a_reason CHECK (reason <> '')
);
COMMENT ON TABLE run_exclusions IS 'Due charges that a plan left out of its manifest, and why.';

CREATE TABLE run_account_stops (
    run_id           bigint      NOT NULL REFERENCES runs (id),
    merchant_account text        NOT NULL REFERENCES merchant_accounts (id),
    reason           text        NOT NULL,
    detail           text        NOT NULL,
    at               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, merchant_account)
);
COMMENT ON TABLE run_account_stops IS 'Accounts that a run stopped sending to, such as one whose key the gateway refused.';

CREATE TABLE claims (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_id       bigint      NOT NULL,
    run_id           bigint      NOT NULL,
    merchant_account text        NOT NULL,
    first_position   integer     NOT NULL,
    last_position    integer     NOT NULL,
    token            uuid        NOT NULL,
    lease_until      timestamptz NOT NULL
);
CREATE INDEX claims_by_lease ON claims (lease_until);
CREATE UNIQUE INDEX claims_by_token ON claims (token);
COMMENT ON TABLE claims IS 'One row for each batch of leases that is not yet settled, so that expired leases are found without an index on the charges. The process deletes its row with the batch''s last answer.';

-- +goose Down
DROP TABLE claims;
DROP TABLE run_account_stops;
DROP TABLE run_exclusions;
DROP TABLE run_items;
DROP TABLE runs;
