-- What keeps a mistake small.

-- +goose Up
CREATE TABLE run_canaries (
    run_id           bigint      NOT NULL REFERENCES runs (id),
    merchant_account text        NOT NULL REFERENCES merchant_accounts (id),
    decided_at       timestamptz NOT NULL DEFAULT now(),
    reason           text        NOT NULL,
    PRIMARY KEY (run_id, merchant_account)
);
COMMENT ON TABLE run_canaries IS 'Parts of runs whose first charges have been judged. With a reason the run was paused then; a person who resumed it let the rest follow.';

ALTER TABLE merchant_accounts
    ADD COLUMN max_charges_per_hour bigint NOT NULL DEFAULT 0,
    ADD COLUMN max_money_per_hour  jsonb  NOT NULL DEFAULT '{}',
    ADD CONSTRAINT merchant_account_max_charges_is_not_negative CHECK (max_charges_per_hour >= 0);
COMMENT ON COLUMN merchant_accounts.max_charges_per_hour IS 'More than so many in an hour stop the account until a person unpauses it; 0 for no limit.';
COMMENT ON COLUMN merchant_accounts.max_money_per_hour IS 'The same for money: minor units by currency.';

CREATE TABLE account_hours (
    merchant_account text        NOT NULL REFERENCES merchant_accounts (id),
    hour             timestamptz NOT NULL,
    currency         currency_code NOT NULL,
    charges          bigint      NOT NULL,
    amount_minor     bigint      NOT NULL,
    PRIMARY KEY (merchant_account, hour, currency)
) WITH (fillfactor = 50);
COMMENT ON TABLE account_hours IS 'What was claimed at each account with an hourly limit, by hour of the database''s clock. Charges that were given back unsent stay counted: the limit errs on the safe side.';

-- +goose Down
DROP TABLE account_hours;
ALTER TABLE merchant_accounts DROP COLUMN max_charges_per_hour, DROP COLUMN max_money_per_hour;
DROP TABLE run_canaries;
