-- Derived from the records of counter: python -m warifu.adapters.store.schema write

CREATE TABLE "staff" (
  "version" bigint NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "login" text COLLATE "C" NOT NULL,
  "name" text COLLATE "C" NOT NULL,
  "role" text COLLATE "C" NOT NULL,
  "password" text COLLATE "C" NOT NULL,
  "totp" bytea NOT NULL,
  "totp_step" bigint NOT NULL,
  "failures" bigint NOT NULL,
  "locked_until_ms" bigint NOT NULL,
  "active" bool NOT NULL,
  PRIMARY KEY ("municipality", "login")
);
CREATE TABLE "login" (
  "version" bigint NOT NULL,
  "login_digest" bytea NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "staff" text COLLATE "C" NOT NULL,
  "terminal" text COLLATE "C" NOT NULL,
  "form_key" bytea NOT NULL,
  "began_ms" bigint NOT NULL,
  "seen_ms" bigint NOT NULL,
  "locked" bool NOT NULL,
  PRIMARY KEY ("login_digest")
);
CREATE INDEX "login_by_municipality_staff" ON "login" ("municipality", "staff", "login_digest");
CREATE TABLE "work" (
  "version" bigint NOT NULL,
  "operation_id" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "kind" text COLLATE "C" NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "reset_pins" text[] NOT NULL,
  "checks" text[] NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "waiting_pins" text[] NOT NULL,
  "card_state" text COLLATE "C" NOT NULL,
  "trouble" text COLLATE "C" NOT NULL,
  "staff" text COLLATE "C" NOT NULL,
  "terminal" text COLLATE "C" NOT NULL,
  "began_ms" bigint NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("operation_id")
);
CREATE INDEX "work_by_municipality_state" ON "work" ("municipality", "state", "operation_id");
CREATE INDEX "work_by_municipality_card_id" ON "work" ("municipality", "card_id", "operation_id");
CREATE TABLE "look" (
  "version" bigint NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "day" text COLLATE "C" NOT NULL,
  "look_id" text COLLATE "C" NOT NULL,
  "at_ms" bigint NOT NULL,
  "staff" text COLLATE "C" NOT NULL,
  "terminal" text COLLATE "C" NOT NULL,
  "action" text COLLATE "C" NOT NULL,
  "subject" text COLLATE "C" NOT NULL,
  "purpose" text COLLATE "C" NOT NULL,
  "operation_id" text COLLATE "C" NOT NULL,
  PRIMARY KEY ("municipality", "day", "look_id")
);
CREATE TABLE "approval" (
  "version" bigint NOT NULL,
  "approval_id" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "action" text COLLATE "C" NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "reason" text COLLATE "C" NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "asked_by" text COLLATE "C" NOT NULL,
  "asked_ms" bigint NOT NULL,
  "decided_by" text COLLATE "C" NOT NULL,
  "decided_ms" bigint NOT NULL,
  PRIMARY KEY ("approval_id")
);
CREATE INDEX "approval_by_municipality_state" ON "approval" ("municipality", "state", "approval_id");
