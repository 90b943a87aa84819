"""JPKI's reception and its two certification authorities.

``node`` answers, ``issuing`` signs, ``key_pool`` makes key pairs ahead, ``applet`` opens chips, ``lists`` publishes.
"""

from warifu.nodes.authority.node import RECORDS, Authority

__all__ = ["RECORDS", "Authority"]
