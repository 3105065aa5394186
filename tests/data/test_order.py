from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from growc.data.order import shuffled


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_is_a_permutation_of_any_size(size: int, seed: int, epoch: int) -> None:
    order = shuffled(np.arange(size), size, seed, epoch)
    assert sorted(order.tolist()) == list(range(size))


@given(size=st.integers(1, 10**15), seed=st.integers(0, 9), data=st.data())
def test_places_can_be_asked_one_by_one(size: int, seed: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True))
    together = shuffled(np.array(places), size, seed, 0).tolist()
    assert together == [shuffled(np.array([place]), size, seed, 0).item() for place in places]
    assert len(set(together)) == len(places)
    assert all(0 <= number < size for number in together)


def test_every_window_is_as_likely_at_every_place() -> None:
    size, epochs = 13, 4000
    counts = np.zeros((size, size))
    for epoch in range(epochs):
        counts[np.arange(size), shuffled(np.arange(size), size, 0, epoch)] += 1
    expected = epochs / size
    # Chi-squared over a 13 by 13 table with fixed margins: mean 144, standard deviation 17.
    assert ((counts - expected) ** 2 / expected).sum() < 144 + 5 * 17


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [shuffled(np.arange(1000), 1000, seed, epoch) for seed in range(3) for epoch in range(3)]
    same = [(a == b).sum() for i, a in enumerate(orders) for b in orders[:i]]
    assert max(same) < 10  # two random orders agree in one place on average
