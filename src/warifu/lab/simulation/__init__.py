"""The simulated world: an event loop, a network, stores, devices, cards and their faults, all from one seed."""
