"""Floor 5: from a topology file to running, supervised processes; the only place (beside ``lab``) that injects.

* ``topology``   what to start: nodes, counts, policies, read from TOML into frozen values
* ``home``       the one folder in which a stack lives, and its lock
* ``addresses``  which node listens where, and who reaches whom through what
* ``postgres``   the embedded PostgreSQL, or an existing one by URL
* ``balancer``   HAProxy before the relays, when it is on the machine
* ``processes``  one child process: started on a leash, logged, kept alive
* ``keeper``     ... and restarted with back-off, probed, declared hung
* ``supervisor`` all of them, in order; ``control`` speaks with a running one
* ``status``     what a running stack says of itself
* ``node``       the program that every node runs in; ``compose`` builds the node inside it

May import everything below ``demo`` except ``lab``.
"""
