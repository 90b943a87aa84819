-- Remembered answers are forgotten after a time, the oldest first.
CREATE INDEX requests_at ON requests (at_ms);
