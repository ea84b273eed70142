"""GPTQ in a workshop: what it can't round is named, and what it remembers of other models does not pile up."""

from __future__ import annotations

import pytest

from edgec.quantization import second_moments, workshop
from edgec.quantization.recipe import Recipe
from tests.quantization.shop import mlp
from tests.quantization.shop import workshop as opened
from tests.quantization.tiny import node

PLAIN = (node("Relu", ["h"], ["m"], "relu"),)
GPTQ = Recipe("islands", rounding="gptq")


def test_layers_that_can_not_be_rounded_so_are_named_with_the_reason(monkeypatch):
    shop = opened(mlp(PLAIN))
    assert shop.no_gptq(GPTQ) is None and shop.rounded_to_nearest(GPTQ) == {}
    monkeypatch.setattr(second_moments, "MOST_INPUTS", 8)
    assert set(shop.rounded_to_nearest(GPTQ)) == {"first", "last"}
    assert "a sum of 16 products" in (shop.no_gptq(GPTQ) or "")


@pytest.mark.parametrize(("room", "kept"), [(0, False), (1 << 30, True)])
def test_what_is_remembered_of_another_model_goes_where_it_is_much(monkeypatch, room, kept):
    monkeypatch.setattr(workshop, "MOST_OF_OTHERS", room)
    shop, wide = opened(mlp(PLAIN)), Recipe("islands", rounding="gptq", int16=frozenset({"x"}))
    first = shop.make(GPTQ)[2].model
    remembered = shop.variant(GPTQ).gptq
    assert remembered is not None and remembered.bytes > 0
    shop.make(wide)
    assert (remembered.bytes > 0) == kept
    assert shop.make(GPTQ)[2].model == first
