"""Lend it: virtual cards, a test CA, lists and OCSP for developers of card applications, without a running stack.

``personas`` says whom one can ask for, ``authority`` is the test CA of a folder, ``maker`` makes a card file with the
real issuer commands, ``service`` answers relying parties over HTTP, ``trace`` puts what clients and card say into
words, ``hold`` is a card that is written down, ``legacy`` runs a set-up as it was done in 2016. Beside ``lab``: may
import adapters, nodes, domain and all below.
"""
