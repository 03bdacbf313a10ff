"""The word problem of S3: its words are right, and every model can be trained and read."""

import torch

from benchmarks.state_tracking import (
    MODELS,
    ORDERS,
    PRODUCTS,
    Settings,
    WordModel,
    length_at,
    measure,
    random_words,
    table,
    train,
)


def test_products_are_those_of_a_group_that_does_not_commute():
    assert PRODUCTS[0].tolist() == PRODUCTS[:, 0].tolist() == list(range(6))
    assert all(sorted(row) == list(range(6)) for row in (*PRODUCTS.tolist(), *PRODUCTS.T.tolist()))
    assert torch.equal(PRODUCTS[PRODUCTS[:, :, None], torch.arange(6)], PRODUCTS[:, PRODUCTS])
    assert not torch.equal(PRODUCTS, PRODUCTS.T)


def test_answers_are_what_the_letters_lead_to():
    letters, answers = random_words(5, 20, torch.Generator().manual_seed(0))
    for word, orders in zip(letters.tolist(), answers.tolist(), strict=True):
        things = "abc"
        for letter, order in zip(word, orders, strict=True):
            things = "".join(things[place] for place in ORDERS[letter])
            assert things == "".join("abc"[place] for place in ORDERS[order])


def test_words_grow_to_their_longest():
    settings = Settings(steps=100, longest=32)
    lengths = [length_at(step, settings) for step in range(100)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[49], lengths[50], lengths[-1]) == (3, 31, 32, 32)


def test_every_model_trains_and_is_reported():
    settings = Settings(dim=8, steps=2, letters_per_step=64, test_lengths=(4, 9), test_words=3, seeds=(0, 1))
    models = measure(settings)
    assert list(models) == list(MODELS)
    for model in models.values():
        assert [run["seed"] for run in model["runs"]] == [0, 1]
        assert all(0 <= run["accuracy"]["9"]["all"] <= 1 for run in model["runs"])
    assert table(models, settings).count("\n") == len(MODELS) + 1


def test_training_is_the_same_for_a_seed():
    settings, losses = Settings(dim=8, steps=3, letters_per_step=64), []
    for _ in range(2):
        torch.manual_seed(5)
        model = WordModel(MODELS["DeltaProduct, 2 steps"](8), 8)
        losses.append(train(model, settings, 5))
    assert losses[0] == losses[1]
