"""Card readers: ``files`` (cards kept as files), ``vpcd`` (a card file in a PC/SC reader), ``pcscd`` (the service).

``python -m warifu.adapters.reader DIRECTORY CARD_ID`` holds a card in vpcd's reader until it is ended.
"""
