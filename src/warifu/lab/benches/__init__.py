"""What parts carry on this machine, each beside its raw limit, for ``warifu bench``."""
