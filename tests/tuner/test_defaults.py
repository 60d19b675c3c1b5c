"""Settings chosen by what a folder of images holds."""

from __future__ import annotations

from typing import Any

import pytest

from lit_cnn.data.summary import Summary
from lit_cnn.tuner import defaults

PHOTOS = Summary(images=900, train=648, classes=5, side=499, grey=False)
DIGITS = Summary(images=1797, train=1294, classes=10, side=8, grey=True)


def choose(found: Summary, cached: tuple[str, ...] = (), **given: Any) -> dict[str, Any]:
    named = {name.replace("__", "."): value for name, value in given.items()}
    return defaults.choose(found, named, lambda name, size: size, lambda name: name in cached)


def test_photos_are_trained_with_the_optimizers_own_rate_and_a_warm_up() -> None:
    chosen = choose(PHOTOS)
    assert (chosen["model.optimizer"], chosen["model.lr"]) == ("adamw", 1e-3)
    assert chosen["model.lr_warmup_epochs"] >= 1
    assert chosen["data.augment.crop_scale"] == [0.35, 1.0]
    assert "data.channels" not in chosen


def test_small_grey_images_are_not_mirrored_and_have_one_channel() -> None:
    chosen = choose(DIGITS)
    assert (chosen["data.channels"], chosen["data.augment.flip"], chosen["data.image_size"]) == (1, 0.0, 32)
    assert chosen["data.augment.crop_scale"] is None
    assert choose(DIGITS._replace(grey=False))["data.augment.flip"] == 0.5


def test_what_is_given_is_kept_and_what_depends_on_it_follows() -> None:
    chosen = choose(PHOTOS, model__optimizer="sgd", data__batch_size="64", trainer__max_epochs="2")
    assert not {"model.optimizer", "data.batch_size", "trainer.max_epochs"} & chosen.keys()
    assert chosen["model.lr"] == 0.025  # 0.1 for 256 images
    assert "model.weight_decay" not in chosen
    assert "model.lr_warmup_epochs" not in chosen  # two epochs have no time for one


def test_another_optimizer_keeps_its_own_rate() -> None:
    assert "model.lr" not in choose(PHOTOS, model__optimizer="rmsprop")


def test_a_group_that_is_given_is_left_alone() -> None:
    chosen = choose(PHOTOS, data__augment="{flip: 0}")
    assert not [name for name in chosen if name.startswith("data.augment")]


def test_weights_in_the_cache_are_started_from_with_a_smaller_rate() -> None:
    chosen = choose(PHOTOS, cached=("resnet18",))
    assert (chosen["model.backbone"], chosen["model.weights"]) == ("resnet18", "imagenet")
    assert (chosen["data.image_size"], chosen["model.lr"]) == (defaults.WEIGHTS_SIZE, 3e-5)
    assert (chosen["model.freeze_bn"], chosen["model.head_init"], chosen["model.head_lr_scale"]) == (True, "zeros", 30)
    assert chosen["trainer.max_epochs"] < choose(PHOTOS)["trainer.max_epochs"]


def test_a_head_alone_sees_the_same_images_in_every_epoch_so_that_features_are_computed_once() -> None:
    chosen = choose(PHOTOS, model__weights="file", model__freeze="backbone")
    assert chosen["data.augment.crop_scale"] is None
    assert (chosen["data.augment.flip"], chosen["data.augment.crop_padding"]) == (0.0, 0)
    assert (chosen["model.lr"], chosen["model.head_init"]) == (defaults.HEAD_LR, "zeros")
    assert chosen["trainer.max_epochs"] == defaults.HEAD_EPOCHS


@pytest.mark.parametrize("given", [{"model__weights": None}, {"model__freeze": 3}, {"model__freeze_epochs": 2}])
def test_layers_that_train_see_augmented_images(given: dict[str, Any]) -> None:
    chosen = choose(PHOTOS, **{"model__weights": "file", "model__freeze": "backbone", **given})
    assert chosen["data.augment.crop_scale"] == ([0.5, 1.0] if given.get("model__weights", "file") else [0.35, 1.0])
    assert "model.cache_features" not in chosen


def test_a_head_alone_keeps_the_rate_of_another_optimizer() -> None:
    head = {"model__weights": "file", "model__freeze": "backbone"}
    assert choose(PHOTOS, **head, model__optimizer="sgd")["model.lr"] == 0.0025
    assert "model.lr" not in choose(PHOTOS, **head, model__optimizer="rmsprop")


@pytest.mark.parametrize("given", [{"model__weights": None}, {"model__backbone": "resnet34"}])
def test_weights_of_the_cache_are_not_used_against_what_is_given(given: dict[str, Any]) -> None:
    assert "model.weights" not in choose(PHOTOS, cached=("resnet18",), **given)


def test_weights_are_for_photos() -> None:
    assert "model.weights" not in choose(DIGITS, cached=("resnet18",))


def test_many_images_are_not_kept_in_memory_and_have_fewer_epochs_in_larger_batches() -> None:
    chosen, few = choose(PHOTOS._replace(images=100_000, train=90_000)), choose(PHOTOS)
    assert few["data.cache"] == "ram"
    assert "data.cache" not in chosen
    assert chosen["trainer.max_epochs"] < few["trainer.max_epochs"]
    assert chosen["data.batch_size"] > few["data.batch_size"]


def test_a_backbone_that_needs_a_size_has_it() -> None:
    sizes = defaults.choose(PHOTOS, {"model.backbone": "alexnet"}, lambda name, size: 224, lambda name: False)
    assert sizes["data.image_size"] == 224


def test_with_several_labels_an_image_the_best_epoch_is_that_of_the_best_average_precision() -> None:
    assert choose(PHOTOS._replace(multilabel=True))["checkpoint.monitor"] == "val/map"
    assert "checkpoint.monitor" not in choose(PHOTOS)
