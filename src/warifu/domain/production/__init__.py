"""Production: cards under way in the factory, and batches on their way to municipalities."""
