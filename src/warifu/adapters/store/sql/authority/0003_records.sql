-- Derived from the records of authority: python -m warifu.adapters.store.schema write

ALTER TABLE "issue_block" ADD COLUMN "unfinished" bytea NOT NULL DEFAULT '\x90';
ALTER TABLE "certificate" ADD COLUMN "opened_ms" bigint NOT NULL DEFAULT 0;
