-- Whether each day is accounted for.

-- +goose Up
-- Charges are made about in the order in which they fall due, so that a summary
-- of ranges finds a day's, and costs new charges next to nothing.
CREATE INDEX charges_by_due ON charges USING brin (due_at) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE days (
    day        date        PRIMARY KEY,
    checked_at timestamptz NOT NULL DEFAULT now(),
    complete   boolean     NOT NULL,
    report     jsonb       NOT NULL
);
COMMENT ON TABLE days IS 'Local days of which the daemons found out whether everything that fell due is accounted for.';
COMMENT ON COLUMN days.report IS 'By currency: counts and minor units in each accounted state, and what is missing.';

-- +goose Down
DROP TABLE days;
DROP INDEX charges_by_due;
