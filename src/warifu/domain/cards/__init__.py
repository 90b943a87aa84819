"""Cards: the record, the counter's operations, and the journalled card write that keeps chip and record equal."""
