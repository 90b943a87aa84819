"""Card management centre (カード管理業務サーバ): ``node`` answers messages, ``scripts`` makes what goes onto chips."""

from warifu.nodes.center.node import RECORDS, Center

__all__ = ["RECORDS", "Center"]
