-- What fires runs, and what became of each fire.

-- +goose Up
CREATE TABLE schedules (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text        NOT NULL,
    state          text        NOT NULL DEFAULT 'active',
    cron           text        NOT NULL,
    timezone       text        NOT NULL,
    blackout       jsonb       NOT NULL DEFAULT '{}',
    filter         jsonb       NOT NULL DEFAULT '{}',
    catch_up       text        NOT NULL DEFAULT 'few',
    needs_approval boolean     NOT NULL DEFAULT false,
    approve_above  jsonb       NOT NULL DEFAULT '{}',
    caps           jsonb       NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL,
    created_by     text        NOT NULL,
    fired_until    timestamptz NOT NULL,
    next_fire_at   timestamptz,
    decided_at     timestamptz NOT NULL DEFAULT now(),
    decided_by     text        NOT NULL,
    reason         text        NOT NULL DEFAULT '',
    CONSTRAINT schedule_name_is_plain CHECK (length(name) <= 40 AND name ~ '^[a-z0-9][a-z0-9-]*$'),
    CONSTRAINT schedule_state_is_known CHECK (state IN ('active', 'paused', 'removed')),
    CONSTRAINT schedule_catch_up_is_known CHECK (catch_up IN ('few', 'all', 'latest', 'none', 'ask')),
    CONSTRAINT schedule_decision_has_a_reason CHECK (state = 'active' OR reason <> '')
);
CREATE UNIQUE INDEX schedules_have_one_name ON schedules (name) WHERE state <> 'removed';
COMMENT ON TABLE schedules IS 'What fires runs. Times are business time.';
COMMENT ON COLUMN schedules.created_at IS 'Business time; @every counts from here.';
COMMENT ON COLUMN schedules.fired_until IS 'Every fire up to here is in fires.';
COMMENT ON COLUMN schedules.next_fire_at IS 'The next fire as the daemons should see it; null if there is none.';

CREATE TABLE fires (
    schedule_id bigint      NOT NULL REFERENCES schedules (id),
    fire_at     timestamptz NOT NULL,
    first_at    timestamptz NOT NULL,
    fires       bigint      NOT NULL DEFAULT 1,
    as_of       timestamptz NOT NULL,
    missed_before timestamptz,
    outcome     text        NOT NULL,
    reason      text        NOT NULL DEFAULT '',
    run_id      bigint      REFERENCES runs (id),
    decided_at  timestamptz NOT NULL DEFAULT now(),
    plan_until  timestamptz,
    tries       integer     NOT NULL DEFAULT 0,
    detail      text        NOT NULL DEFAULT '',
    PRIMARY KEY (schedule_id, fire_at),
    CONSTRAINT fire_outcome_is_known CHECK (outcome IN ('to_plan', 'run', 'nothing_due', 'coalesced', 'skipped')),
    CONSTRAINT fire_has_a_run CHECK ((outcome = 'run') = (run_id IS NOT NULL)),
    CONSTRAINT fire_stands_for_itself_at_least CHECK (fires >= 1 AND first_at <= fire_at),
    CONSTRAINT fire_skipped_has_a_reason CHECK (outcome <> 'skipped' OR reason <> '')
);
CREATE INDEX fires_to_plan ON fires (fire_at) WHERE outcome IN ('to_plan', 'coalesced');
COMMENT ON TABLE fires IS 'What became of each fire of a schedule. A coalesced row waits for the end of the schedule''s unfinished run and is planned then; a row that stands for several fires has one run for all of them.';
COMMENT ON COLUMN fires.fires IS 'How many fires from first_at to fire_at the row stands for: the last one, and those coalesced into it.';
COMMENT ON COLUMN fires.as_of IS 'Business time up to which the fire''s run takes charges.';
COMMENT ON COLUMN fires.missed_before IS 'Cycles that fell due by then were missed while no daemon ran: the schedule''s catch-up policy decides on them. Null if none was missed.';
COMMENT ON COLUMN fires.plan_until IS 'Real time until which one process plans the fire''s run.';

ALTER TABLE runs
    ADD COLUMN schedule_id bigint REFERENCES schedules (id),
    ADD COLUMN fire_at     timestamptz,
    ADD COLUMN catch_up    text NOT NULL DEFAULT '',
    ADD CONSTRAINT run_is_made_once_a_fire UNIQUE (schedule_id, fire_at),
    ADD CONSTRAINT run_of_a_schedule_has_a_fire CHECK ((schedule_id IS NULL) = (fire_at IS NULL));
COMMENT ON COLUMN runs.fire_at IS 'The fire of the schedule that made the run; null for runs that a person planned.';
CREATE INDEX runs_unfinished ON runs (id) WHERE state NOT IN ('completed', 'aborted');

-- Whether a charge was left out before, for the follow-up.
CREATE INDEX run_exclusions_by_charge ON run_exclusions (charge_id);

-- The built-in schedule for what is due again: retries, releases, and what an
-- earlier run postponed.
INSERT INTO schedules (name, cron, timezone, filter, catch_up, created_at, created_by, fired_until, next_fire_at, decided_by)
VALUES ('follow-up', '*/15 * * * *', 'UTC', '{"due_again": true}', 'all', business_now(), 'contauth', business_now(),
        date_trunc('hour', business_now()) + make_interval(mins => 15 * (1 + floor(extract(minute FROM business_now()) / 15)::integer)), 'contauth');

-- +goose Down
ALTER TABLE runs
    DROP CONSTRAINT run_of_a_schedule_has_a_fire,
    DROP CONSTRAINT run_is_made_once_a_fire,
    DROP COLUMN catch_up,
    DROP COLUMN fire_at,
    DROP COLUMN schedule_id;
DROP INDEX runs_unfinished;
DROP INDEX run_exclusions_by_charge;
DROP TABLE fires;
DROP TABLE schedules;
