"""The fake answers as a server does, within its limits."""

from __future__ import annotations

import asyncio
import inspect
from typing import Callable, Dict, Iterator, List

import pytest

import noted
import noted.aio
from noted import Donation, Event, Message, State
from noted.errors import REASONS
from noted.testing import Fake
from noted.v1 import noted_pb2 as pb


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as fake:
        yield fake


class Story:
    """Calls one after the other, and a word for each answer."""

    def __init__(self, client: noted.Client, series: str) -> None:
        self.client = client
        self.donation = Donation(series, transaction_id="T1")
        self.told: List[str] = []
        self.receipt = ""

    def tell(self, call: Callable[[], str]) -> None:
        try:
            self.told.append(call())
        except noted.Error as error:
            self.told.append(error.reason)

    def note(
        self, donation: Donation, message: Message, hold: float = 60, request_id: str = "", keep: bool = True
    ) -> None:
        def call() -> str:
            answer = self.client.note(donation, message, hold=hold, request_id=request_id)
            if keep and answer.receipt:
                self.receipt = answer.receipt
            assert answer.note is not None
            seen = len(answer.note.sightings)
            return (
                f"{answer.verdict.name} {answer.evidence.name} {answer.note.attempt} {seen} {bool(answer.retry_after)}"
            )

        self.tell(call)

    def state(self, call: Callable[[], noted.Note]) -> None:
        self.tell(lambda: call().state.name)


def life(story: Story) -> None:
    client, donation = story.client, story.donation
    ipn, webhook = Message("ipn", "1"), Message("webhook", "W1")
    story.tell(lambda: str(bool(client.exists(donation))))
    story.note(donation, ipn, request_id="request-" + donation.series_id)
    story.note(donation, ipn, request_id="request-" + donation.series_id)
    story.note(donation, webhook, keep=False)
    story.note(donation, webhook, keep=False)
    story.state(lambda: client.extend(story.receipt, 120))
    story.tell(lambda: str(bool(client.exists(donation, ipn))))
    story.state(lambda: client.release(story.receipt))
    story.state(lambda: client.settle(story.receipt))
    story.state(lambda: client.extend(story.receipt, 60))
    released = story.receipt
    story.note(donation, webhook)
    story.state(lambda: client.settle(released))
    story.state(lambda: client.settle(story.receipt))
    story.state(lambda: client.settle(story.receipt))
    story.state(lambda: client.settle(released))
    story.state(lambda: client.release(story.receipt))
    story.note(donation, Message("ipn", "2"), hold=0)
    story.note(donation, Message())
    story.note(Donation(donation.series_id, event=Event.REFUND, transaction_id="T1"), Message(), hold=0)
    story.note(Donation(donation.series_id, "other", transaction_id="T1"), Message(), hold=0)
    story.note(Donation(""), ipn)
    story.state(lambda: client.settle("nothing"))
    story.tell(lambda: str([n.state.name for n in client.list(series_id=donation.series_id)]))
    story.tell(lambda: str(len(list(client.list(series_id=donation.series_id, state=State.HELD)))))
    story.tell(lambda: str(len(list(client.list(series_id=donation.series_id, transaction_id="T1")))))
    notes = list(client.list(series_id=donation.series_id))
    story.state(lambda: client.forget(donation.series_id, notes[0].donation_id, "a test"))
    story.state(lambda: client.forget(donation.series_id, notes[0].donation_id, "a test"))
    story.state(lambda: client.settle(story.receipt))
    story.note(donation, ipn, hold=0)


def test_the_fake_tells_the_story_of_a_server(fake: Fake, client: noted.Client, donation: Donation) -> None:
    real = Story(client, donation.series_id)
    life(real)
    with noted.Client(fake.target) as faked:
        told = Story(faked, donation.series_id)
        life(told)
    assert told.told == real.told
    assert len(real.told) == 29 and {"HOLD_RELEASED", "SETTLED_BY_ANOTHER", "ALREADY_SETTLED"} < set(real.told)


def test_the_fake_has_every_call_but_the_stream() -> None:
    calls = {method.name for method in pb.DESCRIPTOR.services_by_name["DedupeService"].methods}
    assert calls - vars(Fake).keys() == {"NoteDonations"}


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_can_be_had(fake: Fake, reason: str) -> None:
    fake.fail_next(*[reason] * 4)  # the client tries four times where it may
    with noted.Client(fake.target, timeout=30) as client, pytest.raises(REASONS[reason]) as raised:
        client.note(Donation("I-1"))
    assert raised.value.reason == reason and fake.all() == []


@pytest.mark.parametrize(
    "client, interface",
    [(noted.Client, noted.ClientInterface), (noted.aio.Client, noted.aio.ClientInterface)],
    ids=["blocking", "asyncio"],
)
def test_the_interface_has_the_calls_of_the_client(client: type, interface: type) -> None:
    def calls(of: type) -> Dict[str, List[inspect.Parameter]]:
        """The parameters of each call: their names, kinds, defaults and types."""
        return {
            name: list(inspect.signature(call).parameters.values())
            for name, call in vars(of).items()
            if inspect.isfunction(call) and not name.startswith("_")
        }

    made = calls(client)
    del made["close"]  # a client's owner closes it, and not the program that takes it
    assert calls(interface) == made and len(made) == 9


def test_the_clients_have_the_type_of_the_interface(fake: Fake) -> None:
    """mypy checks each client against the interface; the calls are the fake's."""
    donation = Donation("I-1", transaction_id="T-1")

    def blocking(client: noted.ClientInterface) -> bool:
        with client.once(donation) as turn:
            return turn.first

    async def asyncio_too(client: noted.aio.ClientInterface) -> bool:
        async with client.once(donation) as turn:
            return turn.first

    async def run() -> bool:
        async with noted.aio.Client(fake.target) as client:
            return await asyncio_too(client)

    with noted.Client(fake.target) as client:
        assert blocking(client)
    assert not asyncio.run(run())


def test_no_other_reason_can_be_had(fake: Fake) -> None:
    with pytest.raises(ValueError, match="NO_REASON"):
        fake.fail_next("NO_REASON")


def test_a_hold_runs_out_when_the_test_says_so(fake: Fake) -> None:
    donation = Donation("I-1", transaction_id="T1")
    with noted.Client(fake.target) as client:
        first = client.note(donation, hold=60)
        fake.advance(59)
        assert client.note(donation, hold=60).verdict == noted.Verdict.HELD
        fake.advance(1)
        second = client.note(donation, hold=60)
        assert (second.verdict, second.evidence) == (noted.Verdict.FIRST, noted.Evidence.TAKEN_OVER)
        with pytest.raises(noted.HoldLost):
            client.settle(first.receipt)
        client.settle(second.receipt)
        with pytest.raises(noted.SettledByAnother):
            client.settle(first.receipt)
    assert [note.attempt for note in fake.all()] == [2]


def test_once_over_the_fake_in_both_halves(fake: Fake) -> None:
    donation = Donation("I-1", transaction_id="T1")
    with noted.Client(fake.target) as client:
        with pytest.raises(RuntimeError):
            with client.once(donation) as turn:
                assert turn.first
                raise RuntimeError("the books are closed")

    async def again() -> List[bool]:
        from noted import aio

        async with aio.Client(fake.target) as client:
            firsts = []
            for _ in range(2):
                async with client.once(donation) as turn:
                    firsts.append(turn.first)
            return firsts

    assert asyncio.run(again()) == [True, False]
    assert [noted.State(note.state) for note in fake.all()] == [State.SETTLED]
