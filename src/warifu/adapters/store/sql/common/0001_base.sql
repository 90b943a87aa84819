-- What every node's schema has beside its records. Applied with the node's schema as the search path.

-- Answers given, by request key: the same key again gets the first answer.
CREATE TABLE requests (
  node text COLLATE "C" NOT NULL,
  operation_id text COLLATE "C" NOT NULL,
  step text COLLATE "C" NOT NULL,
  digest bytea NOT NULL,
  answer bytea NOT NULL,
  at_ms bigint NOT NULL,
  PRIMARY KEY (node, operation_id, step)
);

-- What happened, for ever.
CREATE TABLE journal (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms bigint NOT NULL,
  stream text COLLATE "C" NOT NULL,
  event text COLLATE "C" NOT NULL,
  operation_id text COLLATE "C" NOT NULL,
  detail jsonb NOT NULL
);
CREATE INDEX journal_stream ON journal (stream, id);

-- Who looked at or changed what. The transaction tells the sealer which rows are complete: all those of transactions
-- below the oldest one still running. Later transactions may commit earlier, so the id alone is no order.
CREATE TABLE audit (
  transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
  id bigint GENERATED ALWAYS AS IDENTITY,
  at_ms bigint NOT NULL,
  actor text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  operation_id text COLLATE "C" NOT NULL,
  purpose text COLLATE "C" NOT NULL,
  PRIMARY KEY (transaction, id)
);

CREATE TABLE audit_seals (
  batch bigint PRIMARY KEY,
  through_transaction xid8 NOT NULL,
  through_id bigint NOT NULL,
  count bigint NOT NULL,
  head bytea NOT NULL,
  at_ms bigint NOT NULL,
  signature bytea NOT NULL
);

-- Messages that wait for their receiver's answer; a row goes when it has come.
CREATE TABLE outbox (
  sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  message_id text COLLATE "C" NOT NULL UNIQUE,
  destination text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  body bytea NOT NULL,
  operation_id text COLLATE "C" NOT NULL,
  order_key text COLLATE "C" NOT NULL,
  at_ms bigint NOT NULL
);
CREATE INDEX outbox_order ON outbox (order_key, sequence) WHERE order_key <> '';

-- Numbers given out: next_number is the first one still free.
CREATE TABLE sequences (
  name text COLLATE "C" PRIMARY KEY,
  next_number bigint NOT NULL
);

-- One row, changed by each probe: shows that the schema can be written and read.
CREATE TABLE probes (
  only_row bool PRIMARY KEY CHECK (only_row),
  count bigint NOT NULL
);

-- Called when a guard missed: aborts the statement, so that none of its parts stands.
CREATE FUNCTION guard_missed() RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'WRF01', MESSAGE = 'a record moved';
END
$$;

-- Journal, audit and seals are only ever added to.
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'WRF02', MESSAGE = TG_TABLE_NAME || ' is append only';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
  FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
  FOR EACH STATEMENT EXECUTE FUNCTION append_only();
