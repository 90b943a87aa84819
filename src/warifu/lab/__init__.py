"""Floor 5: the laboratory. Runs node code on a simulated event loop, in a simulated world, and searches its schedules.

* ``loop``, ``order``, ``seal`` -- the event loop, who goes next, and what is kept out
* ``plan``, ``world``, ``network``, ``storage``, ``keys`` -- one run's seed and faults, and the ports it happens behind
* ``history``, ``properties`` -- what happened, and what must hold of it
* ``scenario``, ``driver``, ``tally``, ``sabotage`` -- what is run, who asks, and which safeguard is removed
* ``run``, ``search``, ``shrink``, ``systematic`` -- one run, many, ever smaller ones, all near ones
* ``catalog``, ``timeline`` -- scenarios and safeguards by name; a run as a story

May import every floor below; nothing but ``warifu.cli`` imports it.
"""
