"""Bytes that callers wait for."""

import asyncio

from object_checks import settle

from dc.objects.budget import ByteBudget


async def test_first_come_first_served() -> None:
    budget = ByteBudget(10)
    order: list[int] = []

    async def take(number: int, count: int) -> None:
        await budget.take(count)
        order.append(number)

    await take(0, 8)
    waiting = [asyncio.ensure_future(take(*one)) for one in ((1, 5), (2, 1), (3, 5))]
    await settle()
    assert order == [0]
    assert not budget.try_take(1)
    budget.give(8)
    await settle()
    assert order == [0, 1, 2]
    budget.give(5)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3]
    assert budget.used == 6


async def test_a_demand_above_the_limit_waits_until_it_is_alone() -> None:
    budget = ByteBudget(10)
    await budget.take(1)
    huge = asyncio.ensure_future(budget.take(50))
    await settle()
    assert not huge.done()
    budget.give(1)
    await huge
    assert budget.used == 50


async def test_who_is_cancelled_gives_way_whether_granted_or_not() -> None:
    budget = ByteBudget(10)
    await budget.take(10)
    one, two, three = (asyncio.ensure_future(budget.take(10)) for _ in range(3))
    await settle()
    one.cancel()
    await settle()
    budget.give(10)
    two.cancel()
    await asyncio.gather(one, two, return_exceptions=True)
    await asyncio.wait_for(three, 1)
    assert budget.used == 10
