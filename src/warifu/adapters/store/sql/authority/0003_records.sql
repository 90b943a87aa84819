-- Derived from the records of authority: python -m warifu.adapters.store.schema write

ALTER TABLE "issue_block" ADD COLUMN "unfinished" bytea NOT NULL DEFAULT '\x90';
