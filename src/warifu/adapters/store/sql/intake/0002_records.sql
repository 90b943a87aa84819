-- Derived from the records of intake: python -m warifu.adapters.store.schema write

CREATE TABLE "loss_tries" (
  "version" bigint NOT NULL,
  "application_id" text COLLATE "C" NOT NULL,
  "failures" bigint NOT NULL,
  "since_ms" bigint NOT NULL,
  PRIMARY KEY ("application_id")
);
