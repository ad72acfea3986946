from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.admission import Admission
from server.errors import Stopping, TooBusy


def admission(*, slots: int = 1, queue: int = 2, wait_s: float = 30.0) -> Admission:
    return Admission(slots=slots, queue=queue, wait_s=wait_s)


async def ask(admission: Admission, name: str, said: list[str], go_on: asyncio.Event | None = None) -> None:
    with admission.place() as place:
        async with admission.turn(place):
            said.append(name)
            if go_on is not None:
                await go_on.wait()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    # In a thread of its own: a browser of the page's tests may keep a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(bounded())).result()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_turns_come_in_order_and_the_rest_is_sent_away_at_once() -> None:
    async def scenario() -> None:
        door, said, go_on = admission(), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(ask(door, name, said, go_on)) for name in "abc"]
        await settle()
        assert (door.active, door.waiting, door.is_idle) == (1, 2, False)
        with pytest.raises(TooBusy, match="3 questions are being answered or wait") as refused:
            await ask(door, "d", said)
        assert refused.value.retry_after_s >= 1
        go_on.set()
        await asyncio.gather(*tasks)
        assert said == ["a", "b", "c"]
        assert (door.active, door.waiting, door.is_idle) == (0, 0, True)

    run(scenario)


def test_who_leaves_the_queue_leaves_no_gap() -> None:
    async def scenario() -> None:
        door, said, go_on = admission(), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(ask(door, name, said, go_on)) for name in "abc"]
        await settle()
        tasks[1].cancel()
        await settle()
        assert (door.active, door.waiting) == (1, 1)
        tasks.append(asyncio.create_task(ask(door, "d", said, go_on)))
        go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert said == ["a", "c", "d"]
        assert door.is_idle

    run(scenario)


def test_a_turn_given_to_who_has_just_left_goes_to_the_next() -> None:
    async def scenario() -> None:
        door, said, go_on = admission(), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(ask(door, name, said, go_on)) for name in "abc"]
        await settle()
        # Both in one step of the loop: the turn is passed to b, which is cancelled before it wakes.
        go_on.set()
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert "c" in said
        assert door.is_idle
        await ask(door, "d", said)

    run(scenario)


def test_nobody_waits_for_ever() -> None:
    async def scenario() -> None:
        door, said, go_on = admission(wait_s=0.05), list[str](), asyncio.Event()
        first = asyncio.create_task(ask(door, "a", said, go_on))
        await settle()
        with pytest.raises(TooBusy, match=r"not free within 0.05 s"):
            await ask(door, "b", said)
        assert (door.active, door.waiting) == (1, 0)
        go_on.set()
        await first
        assert door.is_idle

    run(scenario)


def test_being_stopped_it_sends_the_queue_away_and_lets_the_first_end() -> None:
    async def scenario() -> None:
        door, said, go_on = admission(), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(ask(door, name, said, go_on)) for name in "abc"]
        await settle()
        door.stop()
        with pytest.raises(Stopping):
            await ask(door, "d", said)
        go_on.set()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert ends[0] is None
        assert [type(end) for end in ends[1:]] == [Stopping, Stopping]
        assert said == ["a"]
        assert door.is_idle

    run(scenario)


def test_several_may_be_answered_at_once() -> None:
    async def scenario() -> None:
        door, said, go_on = admission(slots=2, queue=0), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(ask(door, name, said, go_on)) for name in "ab"]
        await settle()
        assert (door.active, door.waiting) == (2, 0)
        with pytest.raises(TooBusy):
            await ask(door, "c", said)
        go_on.set()
        await asyncio.gather(*tasks)

    run(scenario)


def test_who_leaves_during_the_turn_makes_room_before_it_ends() -> None:
    async def scenario() -> None:
        door, go_on = admission(queue=0), asyncio.Event()

        async def leaving() -> None:
            with door.place() as place:
                async with door.turn(place):
                    door.leave(place)
                    assert (door.active, door.waiting, door.is_idle) == (1, 0, False)
                    await go_on.wait()

        first = asyncio.create_task(leaving())
        await settle()
        said: list[str] = []
        second = asyncio.create_task(ask(door, "b", said))
        await settle()
        assert (door.active, door.waiting, said) == (1, 1, [])
        go_on.set()
        await asyncio.gather(first, second)
        assert (said, door.active, door.waiting, door.is_idle) == (["b"], 0, 0, True)

    run(scenario)
