"""The certification service's pure half: names, certificate profiles, revocation lists and OCSP answers, as DER.

Nothing here holds a private key, waits or reads a clock. Functions make to-be-signed DER (``*_tbs``); the caller has
the HSM sign it (RSASSA-PKCS1-v1_5, SHA-256) and ``assemble`` joins both. ``lint`` re-reads every certificate with
another parser before the HSM sees it. Relying parties use ``warifu.verify``.

May import kernel, contract, ports, msgspec and cryptography.
"""
