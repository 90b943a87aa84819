"""The card itself, and what its owners and terminals say to it. Imports nothing of the project but the kernel.

Inside the plastic: ``card`` (the ``Chip``), ``image`` (what survives a power cut), ``layout`` (which files, PINs and
keys there are), ``reading``, ``pins``, ``signing``, ``channel``, ``staging`` (the commands), ``apdu``, ``tlv``.

Outside: ``issuer`` (the owner of a key domain: builds and wraps commands), ``client`` (a terminal: sends them),
``personalise`` and ``contents`` (the factory), ``scp03`` (the channel's arithmetic, for both sides).
"""
