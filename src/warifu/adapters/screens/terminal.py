"""A terminal with its counter's screens, in one process: PINs go from the resident's form to the chip without a hop."""

from warifu.adapters.screens.counter import Counter
from warifu.nodes.base import Probe, World
from warifu.nodes.card_trust import CardTrust
from warifu.nodes.terminal import Terminal
from warifu.ports.reader import Reader
from warifu.ports.store import Store


class CounterTerminal(Terminal):
    """A terminal that people use.

    Attributes:
        counter: what its screens share.
    """

    WARNINGS = frozenset({"store"})
    """Without its store nobody signs in; cards are worked on all the same."""

    def __init__(
        self,
        world: World,
        reader: Reader,
        communication_server: str,
        management_key: bytes,
        trust: CardTrust,
        *,
        municipality: str,
        store: Store,
        key: bytes,
    ) -> None:
        """Make one.

        Args:
            world: what every node has.
            reader: where cards are put; a ``TrayReader`` when they are virtual.
            communication_server: the name of the municipality's CS.
            management_key: card management's public key, SubjectPublicKeyInfo DER.
            trust: judges the certificates on chips.
            municipality: whose counter it is.
            store: of schema ``counter``.
            key: the counters' key, 32 bytes.
        """
        super().__init__(world, reader, communication_server, management_key, trust)
        self._store = store
        self.counter = Counter(self, municipality, store, key, reader)

    async def run(self) -> None:
        """The screens' work and watches, until cancelled."""
        await self.counter.run()

    def parts(self) -> dict[str, Probe]:
        """The path, and the counters' store."""
        return super().parts() | {"store": self._store.probe}
