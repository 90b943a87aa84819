"""Card readers, all behind ``ports.reader``.

Where the chip runs in this process: ``files`` (cards kept as files), ``memory`` (tests, laboratory); ``connection`` is
what they share. ``pcsc`` speaks to real readers, and to vpcd's. ``vpcd`` puts a running chip into a PC/SC reader,
``pcscd`` is the service. ``key_stock`` makes the chips' own RSA keys ahead.

``python -m warifu.adapters.reader DIRECTORY CARD_ID...`` holds cards in vpcd's slots until it is ended.
"""
