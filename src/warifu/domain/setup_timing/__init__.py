"""How long the set-up of a card takes at a counter: ``model`` reckons, ``oracles`` is what was measured in 2016."""
