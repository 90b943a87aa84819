"""Cards for trying the counters: residents registered, their cards made and on their way, nothing done yet."""

from collections.abc import Sequence

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.reader.files import FileReader
from warifu.demo import web
from warifu.demo.connection import any_config, connected
from warifu.demo.driver import Driver
from warifu.demo.people import Holder, choose
from warifu.demo.tally import Screen, Tally
from warifu.kernel.calendar import jst_date
from warifu.stack.home import Home
from warifu.stack.status import StackStatus


async def cards_on_their_way(home: Home, status: StackStatus, residents: int, screen: Screen) -> Sequence[Holder]:
    """So many residents of both municipalities whose cards are shipped.

    Args:
        home: the stack's.
        status: of the running stack.
        residents: how many.
        screen: told of progress.

    Raises:
        WrongStack, NoResponder: the stack cannot do it.
    """
    clock, entropy = SystemClock(), SystemEntropy()
    today = jst_date(clock.now_ms())
    holders = choose(residents, int.from_bytes(entropy.random_bytes(6), "big"), today, clock, entropy)
    async with connected(home, any_config(home, status)) as asker:
        face = web.Web(web.base_url(status))
        await Driver(asker, FileReader(home.cards), face, Tally(screen), today).make_cards(holders)
    return holders
