-- Derived from the records of front: python -m warifu.adapters.store.schema write

CREATE TABLE "verifier" (
  "version" bigint NOT NULL,
  "verifier_id" text COLLATE "C" NOT NULL,
  "kind" text COLLATE "C" NOT NULL,
  "name" text COLLATE "C" NOT NULL,
  "approval" text COLLATE "C" NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "credential" bytea NOT NULL,
  "proposed_by" text COLLATE "C" NOT NULL,
  "approved_by" text COLLATE "C" NOT NULL,
  "suspended_by" text COLLATE "C" NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("verifier_id")
);
CREATE TABLE "verifier_use" (
  "version" bigint NOT NULL,
  "verifier_id" text COLLATE "C" NOT NULL,
  "day" date NOT NULL,
  "what" text COLLATE "C" NOT NULL,
  "requests" bigint NOT NULL,
  "certificates" bigint NOT NULL,
  "revoked" bigint NOT NULL,
  PRIMARY KEY ("verifier_id", "day", "what")
);
CREATE TABLE "certificate_status" (
  "version" bigint NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "serial" bigint NOT NULL,
  "reason" text COLLATE "C" NOT NULL,
  "revoked_ms" bigint NOT NULL,
  PRIMARY KEY ("ca", "serial")
);
