"""A terminal judges the certificates on a chip before it is taken into use, and what it was given at the counter."""

import pytest
from nodes_house import HERE, House
from nodes_parts import run

from warifu.contract.center import CardView, SuspendCard
from warifu.contract.terminal import GiveUpOperation, Performed
from warifu.domain.certificates.records import CaGeneration
from warifu.domain.pki.names import REAL_NAMES, WARIFU_TEST, Kind
from warifu.kernel.errors import Unavailable
from warifu.nodes.card_trust import CLOCKS_APART_MS, CardTrust
from warifu.nodes.terminal import Terminal
from warifu.verify import CertificateExpired, CertificateNotYetValid, NoTrustAnchor, VerificationFailed, WrongPolicy


async def set_up(house: House) -> str:
    card = await house.card_at_counter()
    await house.perform("setup", card)
    return card


def terminal(house: House) -> Terminal:
    node = house.nodes[f"terminal-{HERE}"]
    assert isinstance(node, Terminal)
    return node


def signature_roots(house: House) -> tuple[bytes, ...]:
    """The signature CA's alone: the other CA is a stranger."""
    rows = house.stores["authority"].records(CaGeneration)
    return tuple(row.der for row in rows if isinstance(row, CaGeneration) and row.ca == "signature")


def test_a_card_of_an_unknown_authority_is_not_taken_into_use_until_its_root_is_installed() -> None:
    async def delivered() -> None:
        async with House().running() as house:
            card, operation = await set_up(house), house.new_id()
            installed = [signature_roots(house)]
            terminal(house).trust = CardTrust(lambda: installed[0], WARIFU_TEST)
            with pytest.raises(NoTrustAnchor):
                await house.perform("delivery", card, operation_id=operation)
            assert (await house.view(card)).state == "set_up"
            told = [(name, fields["code"]) for name, fields in house.log.troubles]
            assert told == [("chip.certificate", "verify.no_trust_anchor")]
            installed[0] = house.roots()
            again = await house.perform("delivery", card, operation_id=operation)
            assert (again.outcome, again.card_state) == ("done", "in_use")
            house.assert_tally(card)

    run(delivered())


def test_a_card_with_an_expired_certificate_is_not_handed_over_and_the_operation_is_given_up() -> None:
    async def delivered() -> None:
        async with House().running() as house:
            card, operation = await set_up(house), house.new_id()
            terminal(house).trust = Later(house.roots, WARIFU_TEST)
            with pytest.raises(CertificateExpired):
                await house.perform("delivery", card, operation_id=operation)
            given_up = GiveUpOperation(kind="delivery", card_id=card)
            done = await house.ask(f"terminal-{HERE}", given_up, Performed, operation_id=operation)
            assert (done.outcome, done.card_state) == ("abandoned", "set_up")
            house.assert_tally(card)

    run(delivered())


class Later(CardTrust):
    """Judges as if it were six years later."""

    def judge(self, certificate: bytes, kind: Kind, now_ms: int) -> None:
        super().judge(certificate, kind, now_ms + 6 * 365 * 86_400_000)


def test_what_a_resumption_wrote_is_judged_before_it_is_closed_and_the_record_still_follows_the_chip() -> None:
    async def resumed() -> None:
        async with House().running() as house:
            card, operation = await set_up(house), house.new_id()
            await house.perform("delivery", card)
            await house.ask("center", SuspendCard(card_id=card), CardView)
            await house.settled()
            good = terminal(house).trust
            terminal(house).trust = CardTrust(lambda: signature_roots(house), WARIFU_TEST)
            for _ in range(2):
                with pytest.raises(NoTrustAnchor):
                    await house.perform("resumption", card, operation_id=operation)
                house.assert_tally(card)
            terminal(house).trust = good
            again = await house.perform("resumption", card, operation_id=operation)
            assert (again.outcome, again.card_state) == ("done", "in_use")
            assert await house.signs(card)

    run(resumed())


def test_kind_names_and_instant_are_judged() -> None:
    async def judged() -> None:
        async with House().running() as house:
            view = await house.newest(await set_up(house), "authentication")
            now_ms, trust = house.clock.now_ms(), CardTrust(house.roots, WARIFU_TEST)
            trust.judge(view.der, "authentication", now_ms)
            trust.judge(view.der, "authentication", now_ms - CLOCKS_APART_MS // 2)
            with pytest.raises(CertificateNotYetValid):
                trust.judge(view.der, "authentication", now_ms - 86_400_000)
            with pytest.raises(WrongPolicy):
                CardTrust(house.roots, REAL_NAMES).judge(view.der, "authentication", now_ms)
            with pytest.raises(VerificationFailed):
                trust.judge(view.der, "signature", now_ms)
            with pytest.raises(VerificationFailed):
                trust.judge(view.der[:-1] + bytes([view.der[-1] ^ 1]), "authentication", now_ms)
            with pytest.raises(Unavailable):
                CardTrust(lambda: (), WARIFU_TEST).judge(view.der, "authentication", now_ms)

    run(judged())
