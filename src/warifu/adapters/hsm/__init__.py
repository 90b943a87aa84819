"""One HSM worker, for real: a process of its own that holds one session with one device.

``process`` is the parent's side (implements ``ports.hsm``), ``worker`` the program on the other side of the socket,
``engine`` the commands over a ``device``; ``software`` and ``pkcs11`` are the devices. ``prepare`` makes new ones.
May import ``warifu.chip`` (SCP03 derivations), ``warifu.ports`` and ``warifu.kernel``.

Nothing is imported here, so that a worker starts quickly.
"""
