-- The schema as the migrations leave it, for readers. Nobody runs this file: it
-- is written by "go test ./migrations -update", and a test compares what it makes
-- with what the migrations make. The role contauth_reader must exist.

CREATE SCHEMA reporting;
COMMENT ON SCHEMA reporting IS 'Views for reporting tools. Columns keep their names and meaning; new ones may be added at the end.';

CREATE DOMAIN public.currency_code AS text
    CONSTRAINT currency_has_three_letters CHECK (((length(VALUE) = 3) AND (VALUE ~ '^[A-Z]+$'::text)));
COMMENT ON DOMAIN public.currency_code IS 'ISO 4217 alphabetic code.';

CREATE TABLE public.account_hours (
    merchant_account text                     NOT NULL,
    hour             timestamp with time zone NOT NULL,
    currency         currency_code            NOT NULL,
    charges          bigint                   NOT NULL,
    amount_minor     bigint                   NOT NULL,
    CONSTRAINT account_hours_pkey PRIMARY KEY (merchant_account, hour, currency)
) WITH (fillfactor=50);
COMMENT ON TABLE public.account_hours IS 'What was claimed at each account with an hourly limit, by hour of the database''s clock. Charges that were given back unsent stay counted: the limit errs on the safe side.';

CREATE TABLE public.account_settings (
    id               integer                  GENERATED ALWAYS AS IDENTITY,
    merchant_account text                     NOT NULL,
    base_url         text                     NOT NULL,
    return_url       text                     NOT NULL,
    created_at       timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT account_settings_pkey PRIMARY KEY (id),
    CONSTRAINT account_settings_are_stored_once UNIQUE (merchant_account, base_url, return_url)
);
COMMENT ON TABLE public.account_settings IS 'What configuration puts into a request''s bytes. Rows never change, so that an open attempt is sent again with the bytes it had.';

CREATE TABLE public.alerts (
    id        bigint                   GENERATED ALWAYS AS IDENTITY,
    at        timestamp with time zone NOT NULL DEFAULT now(),
    kind      text                     NOT NULL,
    charge_id bigint,
    detail    text                     NOT NULL,
    closed_at timestamp with time zone,
    CONSTRAINT alerts_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE public.alerts IS 'What a person must look at, such as two answers that contradict each other.';

CREATE TABLE public.audit (
    id               bigint                   GENERATED ALWAYS AS IDENTITY,
    at               timestamp with time zone NOT NULL DEFAULT now(),
    actor            text                     NOT NULL,
    action           text                     NOT NULL,
    merchant_account text,
    object_kind      text                     NOT NULL,
    object           text                     NOT NULL,
    reason           text                     NOT NULL DEFAULT ''::text,
    before           jsonb,
    after            jsonb,
    CONSTRAINT audit_pkey PRIMARY KEY (id),
    CONSTRAINT audit_actor_is_named CHECK ((actor <> ''::text))
);
COMMENT ON TABLE public.audit IS 'Who did what, when and why. Rows are only added.';

CREATE TABLE public.cards (
    token_id              bigint                   NOT NULL,
    brand                 text                     NOT NULL DEFAULT ''::text,
    funding               text                     NOT NULL DEFAULT ''::text,
    last_four             text                     NOT NULL DEFAULT ''::text,
    expires               date,
    fingerprint           text                     NOT NULL DEFAULT ''::text,
    changed_at            timestamp with time zone,
    changed_by_gateway    boolean                  NOT NULL DEFAULT false,
    read_at               timestamp with time zone,
    verified_at           timestamp with time zone,
    verification_strategy text                     NOT NULL DEFAULT ''::text,
    verification_result   text                     NOT NULL DEFAULT ''::text,
    verification_code     text                     NOT NULL DEFAULT ''::text,
    verifications         integer                  NOT NULL DEFAULT 0,
    CONSTRAINT cards_pkey PRIMARY KEY (token_id),
    CONSTRAINT card_expires_on_a_first CHECK ((expires = (date_trunc('month'::text, (expires)::timestamp with time zone))::date)),
    CONSTRAINT card_last_four_is_short CHECK ((length(last_four) <= 4)),
    CONSTRAINT card_verification_strategy_is_known CHECK ((verification_strategy = ANY (ARRAY[''::text, 'ACQUIRER'::text, 'BASIC'::text, 'NONE'::text])))
);
COMMENT ON TABLE public.cards IS 'What gateways tell of the payment method behind a token. For people and for the times of reading and verifying: no charge needs a row.';
COMMENT ON COLUMN public.cards.expires IS 'First day of the last month in which the card is good.';
COMMENT ON COLUMN public.cards.read_at IS 'When the gateway was last asked about the token, on the database''s clock.';
COMMENT ON COLUMN public.cards.verifications IS 'How many verifications were asked for: the last one''s number, which names it at the gateway.';

CREATE TABLE public.charge_reversals (
    charge_id      bigint                   NOT NULL,
    refunded_minor bigint                   NOT NULL,
    disputed_minor bigint                   NOT NULL,
    updated_at     timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT charge_reversals_pkey PRIMARY KEY (charge_id),
    CONSTRAINT charge_reversals_are_not_negative CHECK (((refunded_minor >= 0) AND (disputed_minor >= 0)))
);
COMMENT ON TABLE public.charge_reversals IS 'What was taken back of a charge, added up from the events in the inbox. A charge without a row has nothing reversed.';

CREATE TABLE public.charges (
    id                  bigint                   GENERATED ALWAYS AS IDENTITY,
    subscription_id     bigint,
    token_id            bigint                   NOT NULL,
    amount_minor        bigint                   NOT NULL,
    due_at              timestamp with time zone NOT NULL,
    next_attempt_at     timestamp with time zone NOT NULL,
    created_at          timestamp with time zone NOT NULL DEFAULT now(),
    decided_at          timestamp with time zone NOT NULL DEFAULT now(),
    finished_at         timestamp with time zone,
    attempt_started_at  timestamp with time zone,
    lease_until         timestamp with time zone,
    resolve_at          timestamp with time zone,
    lease_owner         bigint,
    run_id              bigint,
    cycle               integer,
    period_start        date,
    period_end          date,
    answered            integer                  NOT NULL DEFAULT 0,
    lease_no            integer                  NOT NULL DEFAULT 0,
    account_settings_id integer,
    wire_version        smallint,
    replays             smallint                 NOT NULL DEFAULT 0,
    state               text                     NOT NULL DEFAULT 'due'::text,
    reason              text                     NOT NULL DEFAULT ''::text,
    decided_by          text                     NOT NULL,
    currency            currency_code            NOT NULL,
    model               text                     NOT NULL,
    merchant_account    text                     NOT NULL,
    reference           text                     NOT NULL,
    description         text                     NOT NULL DEFAULT ''::text,
    stop_request        text,
    stop_reason         text,
    stop_actor          text,
    CONSTRAINT charges_pkey PRIMARY KEY (id),
    CONSTRAINT charges_are_made_once UNIQUE (reference, merchant_account),
    CONSTRAINT charge_amount_is_positive CHECK (((amount_minor > 0) OR ((amount_minor = 0) AND (state = 'waived'::text)))),
    CONSTRAINT charge_answered_is_not_negative CHECK ((answered >= 0)),
    CONSTRAINT charge_model_fits CHECK ((((model = 'Subscription'::text) AND (subscription_id IS NOT NULL) AND (cycle >= 1) AND (period_start < period_end)) OR ((model = 'UnscheduledCardOnFile'::text) AND (subscription_id IS NULL) AND (cycle IS NULL) AND (period_start IS NULL) AND (period_end IS NULL)))),
    CONSTRAINT charge_state_is_whole CHECK (
CASE state
    WHEN 'due'::text THEN ((finished_at IS NULL) AND (resolve_at IS NULL))
    WHEN 'claimed'::text THEN ((finished_at IS NULL) AND (resolve_at IS NULL) AND (attempt_started_at IS NOT NULL) AND (account_settings_id IS NOT NULL) AND (wire_version IS NOT NULL) AND (lease_until IS NOT NULL) AND (lease_owner IS NOT NULL) AND (run_id IS NOT NULL))
    WHEN 'pending'::text THEN ((finished_at IS NULL) AND (reason <> ''::text) AND (attempt_started_at IS NOT NULL) AND (account_settings_id IS NOT NULL) AND (wire_version IS NOT NULL))
    WHEN 'unknown'::text THEN ((finished_at IS NULL) AND (reason <> ''::text) AND (attempt_started_at IS NOT NULL) AND (account_settings_id IS NOT NULL) AND (wire_version IS NOT NULL))
    WHEN 'held'::text THEN ((finished_at IS NULL) AND (resolve_at IS NULL) AND (reason <> ''::text))
    WHEN 'paid'::text THEN ((finished_at IS NOT NULL) AND (resolve_at IS NULL))
    WHEN 'unpaid'::text THEN ((finished_at IS NOT NULL) AND (resolve_at IS NULL) AND (reason <> ''::text))
    WHEN 'cancelled'::text THEN ((finished_at IS NOT NULL) AND (resolve_at IS NULL) AND (reason <> ''::text))
    WHEN 'waived'::text THEN ((finished_at IS NOT NULL) AND (resolve_at IS NULL) AND (reason <> ''::text))
    ELSE false
END),
    CONSTRAINT charge_stop_is_whole CHECK ((((stop_request IS NULL) AND (stop_reason IS NULL) AND (stop_actor IS NULL)) OR ((stop_request = ANY (ARRAY['cancel'::text, 'hold'::text])) AND (stop_reason IS NOT NULL) AND (stop_actor IS NOT NULL))))
) WITH (fillfactor=45, autovacuum_analyze_scale_factor=0.05);
COMMENT ON TABLE public.charges IS 'Money owed for one cycle or one unscheduled request. The row carries its open attempt: a claimed row is the written-ahead intent of attempt answered + 1.';
COMMENT ON COLUMN public.charges.due_at IS 'When the money fell due; never changes.';
COMMENT ON COLUMN public.charges.next_attempt_at IS 'Business time from which a run may take the charge.';
COMMENT ON COLUMN public.charges.attempt_started_at IS 'When the present attempt number was first claimed, on the database''s clock; the key''s safe life counts from it. Null when no request of that number can have left.';
COMMENT ON COLUMN public.charges.resolve_at IS 'Real time at which the resolver looks at an unknown or pending charge; null when only a person or a message from outside can settle it.';
COMMENT ON COLUMN public.charges.answered IS 'Attempts with a definite answer; the open or next attempt is answered + 1.';
COMMENT ON COLUMN public.charges.stop_request IS 'A person''s wish to stop a charge that is claimed, pending or unknown: the process that holds the lease obeys before it sends, and nobody sends it again.';

CREATE TABLE public.claims (
    id               bigint                   GENERATED ALWAYS AS IDENTITY,
    process_id       bigint                   NOT NULL,
    run_id           bigint                   NOT NULL,
    merchant_account text                     NOT NULL,
    first_position   integer                  NOT NULL,
    last_position    integer                  NOT NULL,
    token            uuid                     NOT NULL,
    lease_until      timestamp with time zone NOT NULL,
    CONSTRAINT claims_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE public.claims IS 'One row for each batch of leases that is not yet settled, so that expired leases are found without an index on the charges. The process deletes its row with the batch''s last answer.';

CREATE TABLE public.days (
    day        date                     NOT NULL,
    checked_at timestamp with time zone NOT NULL DEFAULT now(),
    complete   boolean                  NOT NULL,
    report     jsonb                    NOT NULL,
    CONSTRAINT days_pkey PRIMARY KEY (day)
);
COMMENT ON TABLE public.days IS 'Local days of which the daemons found out whether everything that fell due is accounted for.';
COMMENT ON COLUMN public.days.report IS 'By currency: counts and minor units in each accounted state, and what is missing.';

CREATE TABLE public.fires (
    schedule_id   bigint                   NOT NULL,
    fire_at       timestamp with time zone NOT NULL,
    first_at      timestamp with time zone NOT NULL,
    fires         bigint                   NOT NULL DEFAULT 1,
    as_of         timestamp with time zone NOT NULL,
    missed_before timestamp with time zone,
    outcome       text                     NOT NULL,
    reason        text                     NOT NULL DEFAULT ''::text,
    run_id        bigint,
    decided_at    timestamp with time zone NOT NULL DEFAULT now(),
    plan_until    timestamp with time zone,
    tries         integer                  NOT NULL DEFAULT 0,
    detail        text                     NOT NULL DEFAULT ''::text,
    CONSTRAINT fires_pkey PRIMARY KEY (schedule_id, fire_at),
    CONSTRAINT fire_has_a_run CHECK (((outcome = 'run'::text) = (run_id IS NOT NULL))),
    CONSTRAINT fire_outcome_is_known CHECK ((outcome = ANY (ARRAY['to_plan'::text, 'run'::text, 'nothing_due'::text, 'coalesced'::text, 'skipped'::text]))),
    CONSTRAINT fire_skipped_has_a_reason CHECK (((outcome <> 'skipped'::text) OR (reason <> ''::text))),
    CONSTRAINT fire_stands_for_itself_at_least CHECK (((fires >= 1) AND (first_at <= fire_at)))
);
COMMENT ON TABLE public.fires IS 'What became of each fire of a schedule. A coalesced row waits for the end of the schedule''s unfinished run and is planned then; a row that stands for several fires has one run for all of them.';
COMMENT ON COLUMN public.fires.fires IS 'How many fires from first_at to fire_at the row stands for: the last one, and those coalesced into it.';
COMMENT ON COLUMN public.fires.as_of IS 'Business time up to which the fire''s run takes charges.';
COMMENT ON COLUMN public.fires.missed_before IS 'Cycles that fell due by then were missed while no daemon ran: the schedule''s catch-up policy decides on them. Null if none was missed.';
COMMENT ON COLUMN public.fires.plan_until IS 'Real time until which one process plans the fire''s run.';

CREATE TABLE public.inbox (
    id                 bigint                   GENERATED ALWAYS AS IDENTITY,
    received_at        timestamp with time zone NOT NULL DEFAULT now(),
    times_received     integer                  NOT NULL DEFAULT 1,
    gateway            text                     NOT NULL,
    merchant_account   text                     NOT NULL,
    kind               text                     NOT NULL,
    code               text                     NOT NULL,
    gateway_reference  text                     NOT NULL,
    original_reference text                     NOT NULL DEFAULT ''::text,
    reference          text                     NOT NULL DEFAULT ''::text,
    amount_minor       bigint                   NOT NULL DEFAULT 0,
    currency           text                     NOT NULL DEFAULT ''::text,
    token              text                     NOT NULL DEFAULT ''::text,
    shopper_reference  text                     NOT NULL DEFAULT ''::text,
    signed             boolean                  NOT NULL,
    document           jsonb                    NOT NULL,
    digest             bytea                    NOT NULL,
    state              text                     NOT NULL DEFAULT 'stored'::text,
    verdict            text                     NOT NULL DEFAULT ''::text,
    reason             text                     NOT NULL DEFAULT ''::text,
    charge_id          bigint,
    attempt            integer,
    tries              integer                  NOT NULL DEFAULT 0,
    next_try_at        timestamp with time zone,
    applied_at         timestamp with time zone,
    CONSTRAINT inbox_pkey PRIMARY KEY (id),
    CONSTRAINT inbox_events_are_stored_once UNIQUE (digest),
    CONSTRAINT inbox_events_with_effect_are_signed CHECK ((signed OR (kind = 'other'::text))),
    CONSTRAINT inbox_next_try_is_for_open_events CHECK (((state = ANY (ARRAY['stored'::text, 'waiting'::text])) = (next_try_at IS NOT NULL))),
    CONSTRAINT inbox_quarantine_has_a_reason CHECK (((state <> 'quarantined'::text) OR (reason <> ''::text))),
    CONSTRAINT inbox_state_is_known CHECK ((state = ANY (ARRAY['stored'::text, 'waiting'::text, 'applied'::text, 'kept'::text, 'quarantined'::text])))
);
COMMENT ON TABLE public.inbox IS 'Every webhook event that was acknowledged, once each. stored and waiting ones are applied by the daemons; a quarantined one matches nothing that is known.';
COMMENT ON COLUMN public.inbox.document IS 'What is kept of the message: the fields that contauth reads, and no others.';
COMMENT ON COLUMN public.inbox.digest IS 'SHA-256 over what makes two deliveries one event: account, kind, code, references, token.';

CREATE TABLE public.instance (
    only_row   boolean                  NOT NULL DEFAULT true,
    id         uuid                     NOT NULL DEFAULT gen_random_uuid(),
    key_secret bytea                    NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT instance_pkey PRIMARY KEY (only_row),
    CONSTRAINT instance_has_one_row CHECK (only_row),
    CONSTRAINT instance_key_secret_has_32_bytes CHECK ((octet_length(key_secret) = 32))
);
COMMENT ON TABLE public.instance IS 'One row: who this installation is, and the secret that idempotency keys are derived from. The secret is never rotated: an open attempt must find its key again.';

CREATE TABLE public.instance_binding (
    only_row          boolean                  NOT NULL DEFAULT true,
    system_identifier text                     NOT NULL,
    timeline          integer                  NOT NULL,
    database_oid      bigint                   NOT NULL,
    place             text                     NOT NULL,
    credentials       bytea                    NOT NULL,
    bound_at          timestamp with time zone NOT NULL DEFAULT now(),
    bound_by          text                     NOT NULL,
    CONSTRAINT instance_binding_pkey PRIMARY KEY (only_row),
    CONSTRAINT instance_binding_has_one_row CHECK (only_row)
);
COMMENT ON TABLE public.instance_binding IS 'The server that this database was on when somebody allowed it to charge real cards. A copy or a restored backup is elsewhere, or on another timeline: it must not charge what the original charged since.';
COMMENT ON COLUMN public.instance_binding.place IS 'Where the server listens and, if the role may know, where it keeps its data and when that was put there: a copied data directory has the same system identifier.';
COMMENT ON COLUMN public.instance_binding.credentials IS 'A keyed hash of the live credentials of the configuration.';

CREATE TABLE public.merchant_accounts (
    id                   text                     NOT NULL,
    gateway              text                     NOT NULL,
    environment          text                     NOT NULL,
    settings_id          integer                  NOT NULL,
    max_in_flight        integer                  NOT NULL,
    rate_per_second      double precision         NOT NULL DEFAULT 0,
    next_send_at         timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
    backoff_until        timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
    max_charges_per_hour bigint                   NOT NULL DEFAULT 0,
    max_money_per_hour   jsonb                    NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT merchant_accounts_pkey PRIMARY KEY (id),
    CONSTRAINT merchant_account_environment_is_known CHECK ((environment = ANY (ARRAY['test'::text, 'live'::text]))),
    CONSTRAINT merchant_account_gateway_is_known CHECK ((gateway = ANY (ARRAY['adyen'::text, 'mastercard'::text]))),
    CONSTRAINT merchant_account_id_is_short CHECK (((length(id) >= 1) AND (length(id) <= 80))),
    CONSTRAINT merchant_account_max_charges_is_not_negative CHECK ((max_charges_per_hour >= 0)),
    CONSTRAINT merchant_account_max_in_flight_is_positive CHECK ((max_in_flight > 0)),
    CONSTRAINT merchant_account_rate_is_not_negative CHECK ((rate_per_second >= (0)::double precision))
) WITH (fillfactor=50);
COMMENT ON TABLE public.merchant_accounts IS 'One account at one gateway in one environment. Every claim locks its row: that is where all processes together keep the rate, the back-off and the number in flight.';
COMMENT ON COLUMN public.merchant_accounts.next_send_at IS 'The first moment of the database''s clock that no request has reserved yet; only used with a rate.';
COMMENT ON COLUMN public.merchant_accounts.max_charges_per_hour IS 'More than so many in an hour stop the account until a person unpauses it; 0 for no limit.';
COMMENT ON COLUMN public.merchant_accounts.max_money_per_hour IS 'The same for money: minor units by currency.';

CREATE TABLE public.observations (
    id                bigint                   GENERATED ALWAYS AS IDENTITY,
    charge_id         bigint                   NOT NULL,
    at                timestamp with time zone NOT NULL,
    run_id            bigint,
    attempt           integer                  NOT NULL,
    counted           boolean                  NOT NULL,
    source            text                     NOT NULL,
    outcome           text                     NOT NULL,
    reason            text                     NOT NULL DEFAULT ''::text,
    class             text                     NOT NULL DEFAULT ''::text,
    gateway_reference text                     NOT NULL DEFAULT ''::text,
    result_code       text                     NOT NULL DEFAULT ''::text,
    refusal_code      text                     NOT NULL DEFAULT ''::text,
    refusal_reason    text                     NOT NULL DEFAULT ''::text,
    raw_code          text                     NOT NULL DEFAULT ''::text,
    advice_code       text                     NOT NULL DEFAULT ''::text,
    request_hash      bytea,
    detail            text                     NOT NULL DEFAULT ''::text,
    CONSTRAINT observations_pkey PRIMARY KEY (charge_id, attempt, id),
    CONSTRAINT observation_attempt_is_positive CHECK ((attempt >= 1)),
    CONSTRAINT observation_counts_only_answers CHECK (((NOT counted) OR (outcome = ANY (ARRAY['authorised'::text, 'refused'::text, 'not_processed'::text])))),
    CONSTRAINT observation_outcome_is_known CHECK ((outcome = ANY (ARRAY['authorised'::text, 'refused'::text, 'pending'::text, 'not_sent'::text, 'not_processed'::text, 'unknown'::text]))),
    CONSTRAINT observation_source_is_known CHECK ((source = ANY (ARRAY['api'::text, 'replay'::text, 'resolver'::text, 'webhook'::text, 'person'::text])))
);
COMMENT ON TABLE public.observations IS 'What was learnt about an attempt, from whom and when. Rows are only added. No foreign key: they are written hundreds at a time beside the charges they name.';
COMMENT ON COLUMN public.observations.counted IS 'The answer used up its attempt number.';

CREATE TABLE public.open_charges (
    charge_id bigint NOT NULL,
    token_id  bigint NOT NULL,
    CONSTRAINT open_charges_pkey PRIMARY KEY (charge_id)
) WITH (autovacuum_vacuum_scale_factor=0.1);
COMMENT ON TABLE public.open_charges IS 'Every charge that is not finished, found without reading the finished ones. Triggers of charges add rows; who finishes a charge deletes its row. A row too many does no harm: whoever reads it looks at the charge.';

CREATE TABLE public.processes (
    id         bigint                   GENERATED ALWAYS AS IDENTITY,
    host       text                     NOT NULL,
    pid        integer                  NOT NULL,
    version    text                     NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT processes_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE public.processes IS 'Each start of a process that claims charges. Leases name it.';

CREATE TABLE public.run_account_stops (
    run_id           bigint                   NOT NULL,
    merchant_account text                     NOT NULL,
    reason           text                     NOT NULL,
    detail           text                     NOT NULL,
    at               timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT run_account_stops_pkey PRIMARY KEY (run_id, merchant_account)
);
COMMENT ON TABLE public.run_account_stops IS 'Accounts that a run stopped sending to, such as one whose key the gateway refused.';

CREATE TABLE public.run_canaries (
    run_id           bigint                   NOT NULL,
    merchant_account text                     NOT NULL,
    decided_at       timestamp with time zone NOT NULL DEFAULT now(),
    reason           text                     NOT NULL,
    CONSTRAINT run_canaries_pkey PRIMARY KEY (run_id, merchant_account)
);
COMMENT ON TABLE public.run_canaries IS 'Parts of runs whose first charges have been judged. With a reason the run was paused then; a person who resumed it let the rest follow.';

CREATE TABLE public.run_exclusions (
    run_id       bigint                   NOT NULL,
    charge_id    bigint                   NOT NULL,
    amount_minor bigint                   NOT NULL,
    currency     currency_code            NOT NULL,
    disposition  text                     NOT NULL,
    reason       text                     NOT NULL,
    decided_at   timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT run_exclusions_pkey PRIMARY KEY (run_id, charge_id),
    CONSTRAINT run_exclusion_disposition_is_known CHECK ((disposition = ANY (ARRAY['skipped'::text, 'postponed'::text, 'held'::text]))),
    CONSTRAINT run_exclusion_has_a_reason CHECK ((reason <> ''::text))
);
COMMENT ON TABLE public.run_exclusions IS 'Due charges that a plan left out of its manifest, and why.';

CREATE TABLE public.run_items (
    run_id           bigint                   NOT NULL,
    charge_id        bigint                   NOT NULL,
    amount_minor     bigint                   NOT NULL,
    token_id         bigint                   NOT NULL,
    decided_at       timestamp with time zone,
    "position"       integer                  NOT NULL,
    answered         integer                  NOT NULL,
    merchant_account text                     NOT NULL,
    disposition      text,
    reason           text,
    CONSTRAINT run_items_pkey PRIMARY KEY (run_id, merchant_account, "position"),
    CONSTRAINT run_item_disposition_has_a_reason CHECK ((((disposition IS NULL) = (reason IS NULL)) AND ((disposition IS NULL) = (decided_at IS NULL)))),
    CONSTRAINT run_item_disposition_is_known CHECK ((disposition = ANY (ARRAY['skipped'::text, 'postponed'::text, 'held'::text])))
) WITH (fillfactor=95);
COMMENT ON TABLE public.run_items IS 'The manifest: what was approved to be charged, as it stood when it was planned. An item without a disposition is accounted for by its charge''s own state.';
COMMENT ON COLUMN public.run_items.answered IS 'The charge''s answered when planned; the item stands for attempt answered + 1.';

CREATE TABLE public.runs (
    id            bigint                   GENERATED ALWAYS AS IDENTITY,
    state         text                     NOT NULL DEFAULT 'planned'::text,
    model         text                     NOT NULL DEFAULT ''::text,
    filter        jsonb                    NOT NULL DEFAULT '{}'::jsonb,
    as_of         timestamp with time zone NOT NULL,
    as_of_date    date,
    business_day  date                     NOT NULL,
    created_at    timestamp with time zone NOT NULL DEFAULT now(),
    created_by    text                     NOT NULL,
    approved_at   timestamp with time zone,
    approved_by   text,
    started_at    timestamp with time zone,
    finished_at   timestamp with time zone,
    progress_at   timestamp with time zone,
    reason        text                     NOT NULL DEFAULT ''::text,
    decided_by    text                     NOT NULL,
    items         integer                  NOT NULL,
    manifest_hash text                     NOT NULL,
    schedule_id   bigint,
    fire_at       timestamp with time zone,
    catch_up      text                     NOT NULL DEFAULT ''::text,
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT run_is_made_once_a_fire UNIQUE (schedule_id, fire_at),
    CONSTRAINT run_finished_has_a_time CHECK (((state = ANY (ARRAY['completed'::text, 'aborted'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT run_manifest_hash_is_sha256 CHECK ((manifest_hash ~ '^sha256:[0-9a-f]{64}$'::text)),
    CONSTRAINT run_model_is_known CHECK ((model = ANY (ARRAY[''::text, 'Subscription'::text, 'UnscheduledCardOnFile'::text]))),
    CONSTRAINT run_of_a_schedule_has_a_fire CHECK (((schedule_id IS NULL) = (fire_at IS NULL))),
    CONSTRAINT run_state_is_known CHECK ((state = ANY (ARRAY['planned'::text, 'awaiting_approval'::text, 'running'::text, 'paused'::text, 'completed'::text, 'aborted'::text])))
);
COMMENT ON TABLE public.runs IS 'One batch. manifest_hash is SHA-256 over the lines that contauth run show ID --manifest prints.';
COMMENT ON COLUMN public.runs.as_of_date IS 'Set when the run was asked for by date: it takes cycles whose local date is on or before it.';
COMMENT ON COLUMN public.runs.business_day IS 'The day that one charge a token and business day counts for this run: as_of_date, else the UTC date of as_of.';
COMMENT ON COLUMN public.runs.fire_at IS 'The fire of the schedule that made the run; null for runs that a person planned.';

CREATE TABLE public.schedules (
    id             bigint                   GENERATED ALWAYS AS IDENTITY,
    name           text                     NOT NULL,
    state          text                     NOT NULL DEFAULT 'active'::text,
    cron           text                     NOT NULL,
    timezone       text                     NOT NULL,
    blackout       jsonb                    NOT NULL DEFAULT '{}'::jsonb,
    filter         jsonb                    NOT NULL DEFAULT '{}'::jsonb,
    catch_up       text                     NOT NULL DEFAULT 'few'::text,
    needs_approval boolean                  NOT NULL DEFAULT false,
    approve_above  jsonb                    NOT NULL DEFAULT '{}'::jsonb,
    caps           jsonb                    NOT NULL DEFAULT '{}'::jsonb,
    created_at     timestamp with time zone NOT NULL,
    created_by     text                     NOT NULL,
    fired_until    timestamp with time zone NOT NULL,
    next_fire_at   timestamp with time zone,
    decided_at     timestamp with time zone NOT NULL DEFAULT now(),
    decided_by     text                     NOT NULL,
    reason         text                     NOT NULL DEFAULT ''::text,
    CONSTRAINT schedules_pkey PRIMARY KEY (id),
    CONSTRAINT schedule_catch_up_is_known CHECK ((catch_up = ANY (ARRAY['few'::text, 'all'::text, 'latest'::text, 'none'::text, 'ask'::text]))),
    CONSTRAINT schedule_decision_has_a_reason CHECK (((state = 'active'::text) OR (reason <> ''::text))),
    CONSTRAINT schedule_name_is_plain CHECK (((length(name) <= 40) AND (name ~ '^[a-z0-9][a-z0-9-]*$'::text))),
    CONSTRAINT schedule_state_is_known CHECK ((state = ANY (ARRAY['active'::text, 'paused'::text, 'removed'::text])))
);
COMMENT ON TABLE public.schedules IS 'What fires runs. Times are business time.';
COMMENT ON COLUMN public.schedules.created_at IS 'Business time; @every counts from here.';
COMMENT ON COLUMN public.schedules.fired_until IS 'Every fire up to here is in fires.';
COMMENT ON COLUMN public.schedules.next_fire_at IS 'The next fire as the daemons should see it; null if there is none.';

CREATE TABLE public.send_slots (
    merchant_account text                     NOT NULL,
    process_id       bigint                   NOT NULL,
    slots            integer                  NOT NULL,
    expires_at       timestamp with time zone NOT NULL,
    CONSTRAINT send_slots_pkey PRIMARY KEY (merchant_account, process_id),
    CONSTRAINT send_slots_are_not_negative CHECK ((slots >= 0))
) WITH (fillfactor=50);
COMMENT ON TABLE public.send_slots IS 'How many of an account''s max_in_flight each live process may use now. Read and written under the account''s row lock.';

CREATE TABLE public.sending_stops (
    scope  text                     NOT NULL,
    name   text                     NOT NULL DEFAULT ''::text,
    reason text                     NOT NULL,
    actor  text                     NOT NULL,
    at     timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT sending_stops_pkey PRIMARY KEY (scope, name),
    CONSTRAINT sending_stop_names_its_scope CHECK (((scope = 'all'::text) = (name = ''::text))),
    CONSTRAINT sending_stop_scope_is_known CHECK ((scope = ANY (ARRAY['all'::text, 'merchant_account'::text, 'gateway'::text])))
);
COMMENT ON TABLE public.sending_stops IS 'The kill switch: while a row stands, nothing of its scope is claimed, and what is claimed but unsent is given back within 2 s.';

CREATE TABLE public.subscriptions (
    id               bigint                      GENERATED ALWAYS AS IDENTITY,
    token_id         bigint                      NOT NULL,
    amount_minor     bigint                      NOT NULL,
    anchor           timestamp without time zone NOT NULL,
    next_charge_at   timestamp with time zone,
    created_at       timestamp with time zone    NOT NULL DEFAULT now(),
    decided_at       timestamp with time zone    NOT NULL DEFAULT now(),
    first_cycle      integer                     NOT NULL,
    next_cycle       integer                     NOT NULL,
    max_cycles       integer,
    interval_count   integer                     NOT NULL,
    ends_on          date,
    interval_unit    text                        NOT NULL,
    currency         currency_code               NOT NULL,
    state            text                        NOT NULL DEFAULT 'active'::text,
    reason           text                        NOT NULL DEFAULT ''::text,
    decided_by       text                        NOT NULL,
    timezone         text                        NOT NULL,
    merchant_account text                        NOT NULL,
    reference        text                        NOT NULL,
    description      text                        NOT NULL DEFAULT ''::text,
    CONSTRAINT subscriptions_pkey PRIMARY KEY (id),
    CONSTRAINT subscriptions_are_stored_once UNIQUE (reference, merchant_account),
    CONSTRAINT subscription_amount_is_not_negative CHECK ((amount_minor >= 0)),
    CONSTRAINT subscription_decision_has_a_reason CHECK (((state = ANY (ARRAY['active'::text, 'completed'::text])) OR (reason <> ''::text))),
    CONSTRAINT subscription_first_cycle_is_positive CHECK ((first_cycle >= 1)),
    CONSTRAINT subscription_interval_count_is_positive CHECK (((interval_count >= 1) AND (interval_count <= 3660))),
    CONSTRAINT subscription_interval_unit_is_known CHECK ((interval_unit = ANY (ARRAY['day'::text, 'week'::text, 'month'::text, 'year'::text]))),
    CONSTRAINT subscription_max_cycles_is_positive CHECK ((max_cycles >= 1)),
    CONSTRAINT subscription_next_cycle_follows CHECK ((next_cycle >= first_cycle)),
    CONSTRAINT subscription_reference_is_plain CHECK (((length(reference) <= 36) AND (reference ~ '^[A-Za-z0-9._/-]+$'::text))),
    CONSTRAINT subscription_state_is_known CHECK ((state = ANY (ARRAY['active'::text, 'paused'::text, 'past_due'::text, 'cancelled'::text, 'completed'::text]))),
    CONSTRAINT subscription_that_ended_has_no_next_charge CHECK (((state <> ALL (ARRAY['cancelled'::text, 'completed'::text])) OR (next_charge_at IS NULL)))
) WITH (fillfactor=90, autovacuum_vacuum_scale_factor=0.02);
COMMENT ON TABLE public.subscriptions IS 'Agreements to charge repeatedly. Cycle n is always computed from anchor and timezone, never from cycle n-1.';
COMMENT ON COLUMN public.subscriptions.anchor IS 'Billing cycle anchor: local date and time of cycle 1 in timezone.';
COMMENT ON COLUMN public.subscriptions.next_charge_at IS 'Instant of next_cycle; null when there is none.';
COMMENT ON COLUMN public.subscriptions.first_cycle IS 'First cycle that contauth charges; earlier ones are waived with reason before_import.';

CREATE TABLE public.test_clock (
    only_row boolean                  NOT NULL DEFAULT true,
    start    timestamp with time zone NOT NULL,
    set_at   timestamp with time zone NOT NULL DEFAULT now(),
    speed    double precision         NOT NULL DEFAULT 1,
    CONSTRAINT test_clock_pkey PRIMARY KEY (only_row),
    CONSTRAINT test_clock_has_one_row CHECK (only_row),
    CONSTRAINT test_clock_speed_is_sane CHECK (((speed >= (0)::double precision) AND (speed <= (1000000)::double precision)))
);
COMMENT ON TABLE public.test_clock IS 'Empty, or one row that replaces business time: start, plus the time since set_at, times speed. Leases and rates never use it.';

CREATE TABLE public.token_events (
    id       bigint                   GENERATED ALWAYS AS IDENTITY,
    token_id bigint                   NOT NULL,
    at       timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    kind     text                     NOT NULL,
    state    text                     NOT NULL,
    cause    text                     NOT NULL DEFAULT ''::text,
    source   text                     NOT NULL,
    actor    text                     NOT NULL,
    detail   text                     NOT NULL DEFAULT ''::text,
    CONSTRAINT token_events_pkey PRIMARY KEY (id),
    CONSTRAINT token_event_is_short CHECK (((length(detail) <= 1000) AND (length(cause) <= 1000))),
    CONSTRAINT token_event_kind_is_known CHECK ((kind = ANY (ARRAY['created'::text, 'read'::text, 'verified'::text, 'invalid'::text, 'reactivated'::text, 'replaced'::text, 'disabled'::text, 'erased'::text]))),
    CONSTRAINT token_event_source_is_known CHECK ((source = ANY (ARRAY['person'::text, 'import'::text, 'webhook'::text, 'poll'::text, 'charge'::text, 'session'::text, 'verification'::text])))
);
COMMENT ON TABLE public.token_events IS 'The timeline of each token, append-only. That it was imported and what was charged with it stand elsewhere: tokens.created_at and observations.';

CREATE TABLE public.token_sessions (
    id                bigint                   GENERATED ALWAYS AS IDENTITY,
    merchant_account  text                     NOT NULL,
    reference         text                     NOT NULL,
    purpose           text                     NOT NULL,
    shopper_reference text                     NOT NULL,
    token_id          bigint,
    amount_minor      bigint                   NOT NULL,
    currency          currency_code            NOT NULL,
    model             text                     NOT NULL,
    gateway_session   text                     NOT NULL DEFAULT ''::text,
    state             text                     NOT NULL DEFAULT 'open'::text,
    detail            text                     NOT NULL DEFAULT ''::text,
    opened_by         text                     NOT NULL,
    opened_at         timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    expires_at        timestamp with time zone NOT NULL,
    ended_at          timestamp with time zone,
    CONSTRAINT token_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT token_sessions_have_one_reference UNIQUE (reference, merchant_account),
    CONSTRAINT token_session_amount_is_not_negative CHECK ((amount_minor >= 0)),
    CONSTRAINT token_session_purpose_is_known CHECK ((purpose = 'create'::text)),
    CONSTRAINT token_session_state_is_known CHECK ((state = ANY (ARRAY['open'::text, 'authorised'::text, 'refused'::text, 'completed'::text])))
);
COMMENT ON TABLE public.token_sessions IS 'Sessions that were opened at a gateway so that a shopper stores a payment method. The reference comes back with the gateway''s webhooks; the token it brings belongs to the shopper of the session.';

CREATE TABLE public.tokens (
    id                bigint                   GENERATED ALWAYS AS IDENTITY,
    merchant_account  text                     NOT NULL,
    token             text                     NOT NULL,
    shopper_reference text                     NOT NULL,
    payment_method    text                     NOT NULL DEFAULT 'scheme'::text,
    state             text                     NOT NULL DEFAULT 'unverified'::text,
    cause             text                     NOT NULL DEFAULT ''::text,
    state_since       timestamp with time zone NOT NULL DEFAULT now(),
    created_at        timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT tokens_pkey PRIMARY KEY (id),
    CONSTRAINT tokens_are_stored_once UNIQUE (token, merchant_account),
    CONSTRAINT token_invalid_has_a_cause CHECK (((state <> 'invalid'::text) OR (cause <> ''::text))),
    CONSTRAINT token_is_short CHECK (((length(token) >= 1) AND (length(token) <= 64))),
    CONSTRAINT token_shopper_reference_is_short CHECK (((length(shopper_reference) >= 3) AND (length(shopper_reference) <= 256))),
    CONSTRAINT token_state_is_known CHECK ((state = ANY (ARRAY['unverified'::text, 'valid'::text, 'invalid'::text, 'disabled'::text])))
);
COMMENT ON TABLE public.tokens IS 'Stored payment methods at a gateway. A token belongs to one shopper of one merchant account, for good.';
COMMENT ON COLUMN public.tokens.token IS 'The gateway''s own id: Adyen storedPaymentMethodId, Mastercard token.';

CREATE TABLE public.verification_items (
    job_id      bigint                   NOT NULL,
    token_id    bigint                   NOT NULL,
    taken_until timestamp with time zone,
    done_at     timestamp with time zone,
    result      text                     NOT NULL DEFAULT ''::text,
    CONSTRAINT verification_items_pkey PRIMARY KEY (job_id, token_id)
);
COMMENT ON TABLE public.verification_items IS 'The tokens of a verification job. An item that was taken and not done is free again after taken_until: asking about a card twice moves no money.';

CREATE TABLE public.verification_jobs (
    id         bigint                   GENERATED ALWAYS AS IDENTITY,
    strategy   text                     NOT NULL,
    currency   text                     NOT NULL DEFAULT ''::text,
    selection  text                     NOT NULL,
    actor      text                     NOT NULL,
    reason     text                     NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamp with time zone,
    CONSTRAINT verification_jobs_pkey PRIMARY KEY (id),
    CONSTRAINT verification_job_strategy_is_known CHECK ((strategy = ANY (ARRAY['ACQUIRER'::text, 'BASIC'::text])))
);
COMMENT ON TABLE public.verification_jobs IS 'Verifications of many tokens that somebody asked for at once. One that was interrupted goes on where it stopped.';

CREATE OR REPLACE FUNCTION public.business_now()
 RETURNS timestamp with time zone
 LANGUAGE sql
RETURN COALESCE((SELECT (c.start + ((clock_timestamp() - c.set_at) * c.speed)) FROM test_clock c), clock_timestamp())
;
COMMENT ON FUNCTION business_now() IS 'Business time: the test clock where one is set, else the database''s own clock.';

CREATE OR REPLACE FUNCTION public.check_moved_charge()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM tokens t WHERE t.id = NEW.token_id AND t.merchant_account = NEW.merchant_account) THEN
        RAISE EXCEPTION 'charge % has a token that its merchant account does not have', NEW.reference
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'charge_has_a_token';
    END IF;
    UPDATE open_charges SET token_id = NEW.token_id WHERE charge_id = NEW.id;
    RETURN NULL;
END $function$
;
COMMENT ON FUNCTION check_moved_charge() IS 'A charge that changes its token gets one of its own merchant account.';

CREATE OR REPLACE FUNCTION public.check_moved_subscription()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM tokens t WHERE t.id = NEW.token_id AND t.merchant_account = NEW.merchant_account) THEN
        RAISE EXCEPTION 'subscription % has a token that its merchant account does not have', NEW.reference
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'subscription_has_a_token';
    END IF;
    RETURN NULL;
END $function$
;
COMMENT ON FUNCTION check_moved_subscription() IS 'A subscription that changes its token gets one of its own merchant account.';

CREATE OR REPLACE FUNCTION public.check_new_charges()
 RETURNS trigger
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
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
    INSERT INTO open_charges (charge_id, token_id)
    SELECT n.id, n.token_id FROM new_rows n WHERE n.finished_at IS NULL ORDER BY n.id;
    RETURN NULL;
END $function$
;
COMMENT ON FUNCTION check_new_charges() IS 'New charges have a token, and where they are of a subscription that one, of their own merchant account. Those that are not finished are open.';

CREATE OR REPLACE FUNCTION public.check_new_subscriptions()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
END $function$
;
COMMENT ON FUNCTION check_new_subscriptions() IS 'New subscriptions have a token of their own merchant account.';

CREATE OR REPLACE FUNCTION public.check_new_tokens()
 RETURNS trigger
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
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
END $function$
;
COMMENT ON FUNCTION check_new_tokens() IS 'New tokens belong to a merchant account that exists.';

CREATE OR REPLACE FUNCTION public.open_charge_again()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO open_charges (charge_id, token_id) VALUES (NEW.id, NEW.token_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $function$
;
COMMENT ON FUNCTION open_charge_again() IS 'A finished charge that is no longer finished is open.';

CREATE OR REPLACE FUNCTION public.refuse_change_of_money()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'charge %: amount and currency cannot change after the first attempt', OLD.reference
        USING ERRCODE = 'check_violation', CONSTRAINT = 'charge_money_is_frozen';
END $function$;

CREATE OR REPLACE FUNCTION public.refuse_removal()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'rows of % are never removed, and never change their keys: others refer to them', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $function$
;
COMMENT ON FUNCTION refuse_removal() IS 'What a foreign key would say to DELETE, TRUNCATE and changes of a key.';

CREATE OR REPLACE FUNCTION public.server_identity(OUT system_identifier text, OUT timeline integer, OUT database_oid bigint, OUT place text)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
    more text;
BEGIN
    SELECT c.system_identifier::text INTO system_identifier FROM pg_control_system() c;
    timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
    SELECT d.oid INTO database_oid FROM pg_database d WHERE d.datname = current_database();
    place := coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'socket');
    -- What only some roles may see. A file's change time is that of its copy,
    -- whatever else the copy preserves.
    BEGIN
        SELECT current_setting('data_directory') INTO more;
        IF more NOT LIKE '/proc/%' THEN
            place := place || ' ' || more;
        END IF;
        EXECUTE 'SELECT to_char(change AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS"Z"'') FROM pg_stat_file(''PG_VERSION'')' INTO more;
        place := place || coalesce(' made ' || more, '');
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;
    END;
END $function$
;
COMMENT ON FUNCTION server_identity() IS 'Which server this is, as far as a server can tell: see instance_binding.';

ALTER TABLE public.account_hours ADD CONSTRAINT account_hours_merchant_account_fkey
    FOREIGN KEY (merchant_account) REFERENCES merchant_accounts(id);

ALTER TABLE public.account_settings ADD CONSTRAINT account_settings_merchant_account_fkey
    FOREIGN KEY (merchant_account) REFERENCES merchant_accounts(id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE public.cards ADD CONSTRAINT cards_token_id_fkey
    FOREIGN KEY (token_id) REFERENCES tokens(id);

ALTER TABLE public.fires ADD CONSTRAINT fires_run_id_fkey
    FOREIGN KEY (run_id) REFERENCES runs(id);

ALTER TABLE public.fires ADD CONSTRAINT fires_schedule_id_fkey
    FOREIGN KEY (schedule_id) REFERENCES schedules(id);

ALTER TABLE public.merchant_accounts ADD CONSTRAINT merchant_account_has_settings
    FOREIGN KEY (settings_id) REFERENCES account_settings(id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE public.run_account_stops ADD CONSTRAINT run_account_stops_merchant_account_fkey
    FOREIGN KEY (merchant_account) REFERENCES merchant_accounts(id);

ALTER TABLE public.run_account_stops ADD CONSTRAINT run_account_stops_run_id_fkey
    FOREIGN KEY (run_id) REFERENCES runs(id);

ALTER TABLE public.run_canaries ADD CONSTRAINT run_canaries_merchant_account_fkey
    FOREIGN KEY (merchant_account) REFERENCES merchant_accounts(id);

ALTER TABLE public.run_canaries ADD CONSTRAINT run_canaries_run_id_fkey
    FOREIGN KEY (run_id) REFERENCES runs(id);

ALTER TABLE public.run_exclusions ADD CONSTRAINT run_exclusions_run_id_fkey
    FOREIGN KEY (run_id) REFERENCES runs(id);

ALTER TABLE public.run_items ADD CONSTRAINT run_items_run_id_fkey
    FOREIGN KEY (run_id) REFERENCES runs(id);

ALTER TABLE public.runs ADD CONSTRAINT runs_schedule_id_fkey
    FOREIGN KEY (schedule_id) REFERENCES schedules(id);

ALTER TABLE public.send_slots ADD CONSTRAINT send_slots_merchant_account_fkey
    FOREIGN KEY (merchant_account) REFERENCES merchant_accounts(id);

ALTER TABLE public.send_slots ADD CONSTRAINT send_slots_process_id_fkey
    FOREIGN KEY (process_id) REFERENCES processes(id);

ALTER TABLE public.token_events ADD CONSTRAINT token_events_token_id_fkey
    FOREIGN KEY (token_id) REFERENCES tokens(id);

ALTER TABLE public.token_sessions ADD CONSTRAINT token_sessions_merchant_account_fkey
    FOREIGN KEY (merchant_account) REFERENCES merchant_accounts(id);

ALTER TABLE public.token_sessions ADD CONSTRAINT token_sessions_token_id_fkey
    FOREIGN KEY (token_id) REFERENCES tokens(id);

ALTER TABLE public.verification_items ADD CONSTRAINT verification_items_job_id_fkey
    FOREIGN KEY (job_id) REFERENCES verification_jobs(id);

ALTER TABLE public.verification_items ADD CONSTRAINT verification_items_token_id_fkey
    FOREIGN KEY (token_id) REFERENCES tokens(id);

CREATE INDEX audit_by_object ON public.audit USING btree (object_kind, object, id);

CREATE INDEX cards_by_expiry ON public.cards USING btree (expires) WHERE (expires IS NOT NULL);

CREATE INDEX cards_by_fingerprint ON public.cards USING btree (fingerprint) WHERE (fingerprint <> ''::text);

CREATE UNIQUE INDEX charge_cycles_are_made_once ON public.charges USING btree (subscription_id, cycle) WHERE (subscription_id IS NOT NULL);

CREATE INDEX charges_by_due ON public.charges USING brin (due_at) WITH (pages_per_range='16', autosummarize='on');

CREATE INDEX charges_to_resolve ON public.charges USING btree (resolve_at) WHERE (resolve_at IS NOT NULL);

CREATE INDEX claims_by_lease ON public.claims USING btree (lease_until);

CREATE UNIQUE INDEX claims_by_token ON public.claims USING btree (token);

CREATE INDEX fires_to_plan ON public.fires USING btree (fire_at) WHERE (outcome = ANY (ARRAY['to_plan'::text, 'coalesced'::text]));

CREATE INDEX inbox_by_charge ON public.inbox USING btree (charge_id) WHERE (charge_id IS NOT NULL);

CREATE INDEX inbox_by_gateway_reference ON public.inbox USING btree (gateway_reference);

CREATE INDEX inbox_quarantined ON public.inbox USING btree (original_reference) WHERE (state = 'quarantined'::text);

CREATE INDEX inbox_to_apply ON public.inbox USING btree (next_try_at, id) WHERE (next_try_at IS NOT NULL);

CREATE INDEX open_charges_by_token ON public.open_charges USING btree (token_id, charge_id);

CREATE INDEX run_exclusions_by_charge ON public.run_exclusions USING btree (charge_id);

CREATE INDEX run_items_by_charge ON public.run_items USING btree (charge_id);

CREATE INDEX runs_by_business_day ON public.runs USING btree (business_day);

CREATE INDEX runs_unfinished ON public.runs USING btree (id) WHERE (state <> ALL (ARRAY['completed'::text, 'aborted'::text]));

CREATE UNIQUE INDEX schedules_have_one_name ON public.schedules USING btree (name) WHERE (state <> 'removed'::text);

CREATE INDEX subscriptions_by_next_charge ON public.subscriptions USING btree (next_charge_at, id) WHERE (next_charge_at IS NOT NULL);

CREATE INDEX subscriptions_by_token ON public.subscriptions USING btree (token_id);

CREATE INDEX token_events_by_token ON public.token_events USING btree (token_id, id);

CREATE INDEX verification_items_to_do ON public.verification_items USING btree (job_id, token_id) WHERE (done_at IS NULL);

CREATE TRIGGER charge_money_is_frozen AFTER UPDATE OF amount_minor, currency ON public.charges FOR EACH ROW WHEN ((((old.answered > 0) OR (old.attempt_started_at IS NOT NULL)) AND ((old.amount_minor IS DISTINCT FROM new.amount_minor) OR ((old.currency)::text IS DISTINCT FROM (new.currency)::text)))) EXECUTE FUNCTION refuse_change_of_money();

CREATE TRIGGER charges_keep_their_references AFTER UPDATE OF subscription_id, merchant_account ON public.charges FOR EACH ROW WHEN (((old.subscription_id IS DISTINCT FROM new.subscription_id) OR (old.merchant_account IS DISTINCT FROM new.merchant_account))) EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER charges_open_again AFTER UPDATE OF finished_at ON public.charges FOR EACH ROW WHEN (((old.finished_at IS NOT NULL) AND (new.finished_at IS NULL))) EXECUTE FUNCTION open_charge_again();

CREATE TRIGGER charges_refer_to_rows AFTER INSERT ON public.charges REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_new_charges();

CREATE TRIGGER moved_charges_refer_to_rows AFTER UPDATE OF token_id ON public.charges FOR EACH ROW WHEN ((old.token_id <> new.token_id)) EXECUTE FUNCTION check_moved_charge();

CREATE TRIGGER merchant_accounts_keep_their_keys BEFORE UPDATE OF id ON public.merchant_accounts FOR EACH ROW WHEN ((old.id <> new.id)) EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER merchant_accounts_stay BEFORE DELETE OR TRUNCATE ON public.merchant_accounts FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER moved_subscriptions_refer_to_rows AFTER UPDATE OF token_id ON public.subscriptions FOR EACH ROW WHEN ((old.token_id <> new.token_id)) EXECUTE FUNCTION check_moved_subscription();

CREATE TRIGGER subscriptions_keep_their_keys BEFORE UPDATE OF id, merchant_account ON public.subscriptions FOR EACH ROW WHEN (((old.id <> new.id) OR (old.merchant_account <> new.merchant_account))) EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER subscriptions_refer_to_rows AFTER INSERT ON public.subscriptions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_new_subscriptions();

CREATE TRIGGER subscriptions_stay BEFORE DELETE OR TRUNCATE ON public.subscriptions FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER token_events_stay BEFORE DELETE OR TRUNCATE ON public.token_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER tokens_keep_their_keys BEFORE UPDATE OF id, merchant_account ON public.tokens FOR EACH ROW WHEN (((old.id <> new.id) OR (old.merchant_account <> new.merchant_account))) EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER tokens_refer_to_rows AFTER INSERT ON public.tokens REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_new_tokens();

CREATE TRIGGER tokens_stay BEFORE DELETE OR TRUNCATE ON public.tokens FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

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
   FROM ( SELECT DISTINCT ON (o.charge_id, o.attempt) o.charge_id,
            o.attempt,
            o.outcome,
            o.class,
            o.result_code,
            o.refusal_code,
            o.refusal_reason,
            o.gateway_reference,
            min(o.at) OVER attempt AS first_observed_at,
            max(o.at) OVER attempt AS last_observed_at,
            count(*) OVER attempt AS observations
           FROM observations o
          WINDOW attempt AS (PARTITION BY o.charge_id, o.attempt)
          ORDER BY o.charge_id, o.attempt, (o.outcome = 'authorised'::text) DESC, o.counted DESC, o.id DESC) a
     JOIN charges c ON c.id = a.charge_id;
COMMENT ON VIEW reporting.attempts IS 'Each attempt that something was learnt about, once, with its present outcome: authorised if any source said so, else the last definite answer, else the last news.';

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
    c.answered + (c.state = ANY (ARRAY['claimed'::text, 'pending'::text, 'unknown'::text]))::integer AS attempts,
    c.decided_at,
    c.decided_by,
    c.finished_at,
    c.description
   FROM charges c
     JOIN tokens t ON t.id = c.token_id
     LEFT JOIN subscriptions s ON s.id = c.subscription_id;
COMMENT ON VIEW reporting.charges IS 'Each charge once. amount_minor is in ISO 4217 minor units; times are instants; periods are local dates, the end exclusive.';

CREATE VIEW reporting.runs AS
 SELECT r.id,
    r.state,
    r.model,
    r.as_of,
    r.items,
    r.manifest_hash,
    r.created_at,
    r.created_by,
    r.approved_at,
    r.approved_by,
    r.started_at,
    r.finished_at,
    r.reason
   FROM runs r;
COMMENT ON VIEW reporting.runs IS 'Each run once.';

GRANT USAGE ON SCHEMA reporting TO contauth_reader;

GRANT SELECT ON reporting.attempts TO contauth_reader;

GRANT SELECT ON reporting.charges TO contauth_reader;

GRANT SELECT ON reporting.runs TO contauth_reader;

ALTER DEFAULT PRIVILEGES IN SCHEMA reporting GRANT SELECT ON TABLES TO contauth_reader;
