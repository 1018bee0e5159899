-- What reporting tools may read. The meaning of a view never changes; docs/reporting.md states it.

-- +goose Up
CREATE SCHEMA reporting;
COMMENT ON SCHEMA reporting IS 'Views for reporting tools. Columns keep their names and meaning; new ones may be added at the end.';

CREATE VIEW reporting.charges AS
SELECT c.id,
       c.reference,
       s.reference AS subscription,
       c.cycle,
       c.period_start,
       c.period_end,
       c.model,
       c.merchant_account,
       t.shopper_reference,
       t.token,
       c.amount_minor,
       c.currency,
       c.state,
       c.reason,
       c.due_at,
       c.next_attempt_at,
       c.answered + (c.state IN ('claimed', 'pending', 'unknown'))::integer AS attempts,
       c.decided_at,
       c.decided_by,
       c.finished_at,
       c.description
  FROM public.charges c
  JOIN public.tokens t ON t.id = c.token_id
  LEFT JOIN public.subscriptions s ON s.id = c.subscription_id;
COMMENT ON VIEW reporting.charges IS 'Each charge once. amount_minor is in ISO 4217 minor units; times are instants; periods are local dates, the end exclusive.';

CREATE VIEW reporting.attempts AS
SELECT c.id AS charge_id,
       c.reference AS charge_reference,
       c.merchant_account,
       a.attempt,
       a.outcome,
       a.class,
       a.result_code,
       a.refusal_code,
       a.refusal_reason,
       a.gateway_reference,
       c.amount_minor,
       c.currency,
       a.first_observed_at,
       a.last_observed_at,
       a.observations
  FROM (SELECT DISTINCT ON (o.charge_id, o.attempt)
               o.charge_id, o.attempt, o.outcome, o.class, o.result_code, o.refusal_code, o.refusal_reason, o.gateway_reference,
               min(o.at) OVER attempt AS first_observed_at,
               max(o.at) OVER attempt AS last_observed_at,
               count(*) OVER attempt AS observations
          FROM public.observations o
        WINDOW attempt AS (PARTITION BY o.charge_id, o.attempt)
         ORDER BY o.charge_id, o.attempt, o.outcome = 'authorised' DESC, o.counted DESC, o.id DESC) a
  JOIN public.charges c ON c.id = a.charge_id;
COMMENT ON VIEW reporting.attempts IS 'Each attempt that something was learnt about, once, with its present outcome: authorised if any source said so, else the last definite answer, else the last news.';

CREATE VIEW reporting.runs AS
SELECT r.id, r.state, r.model, r.as_of, r.items, r.manifest_hash, r.created_at, r.created_by,
       r.approved_at, r.approved_by, r.started_at, r.finished_at, r.reason
  FROM public.runs r;
COMMENT ON VIEW reporting.runs IS 'Each run once.';

-- +goose StatementBegin
DO $$
BEGIN
    CREATE ROLE contauth_reader NOLOGIN;
EXCEPTION
    -- Roles belong to the whole server: another database may have made it, even this moment.
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON SCHEMA public FROM contauth_reader;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA reporting TO contauth_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO contauth_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA reporting GRANT SELECT ON TABLES TO contauth_reader;

-- +goose Down
ALTER DEFAULT PRIVILEGES IN SCHEMA reporting REVOKE SELECT ON TABLES FROM contauth_reader;
DROP VIEW reporting.runs;
DROP VIEW reporting.attempts;
DROP VIEW reporting.charges;
REVOKE USAGE ON SCHEMA reporting FROM contauth_reader;
DROP SCHEMA reporting;
