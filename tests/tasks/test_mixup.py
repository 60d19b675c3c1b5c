import pytest
import torch

from lit_cnn.errors import UserError
from lit_cnn.tasks import mixup
from lit_cnn.tasks.mixup import Mixer, _boxes, _inside
from tests.fake_cuda import CUDA, fake_cuda

N, CLASSES = 64, 5
TARGET = torch.arange(N) % CLASSES
IMAGE = torch.arange(N, dtype=torch.float32).view(N, 1, 1, 1).expand(N, 2, 8, 8).contiguous()  # sample i is all i


def mixed(mixup, cutmix, seed=0):
    torch.manual_seed(seed)
    return Mixer(mixup, cutmix, CLASSES)(IMAGE, TARGET)


def test_mixup_blends_pixels_and_labels_by_the_same_share():
    image, target = mixed(0.4, 0.0)
    torch.manual_seed(0)
    partner = torch.randperm(N)
    for i in range(N):
        assert image[i].unique().numel() == 1  # one share for all of the sample
        if partner[i] != i and TARGET[i] != TARGET[partner[i]]:
            share = target[i, TARGET[i]]
            torch.testing.assert_close(image[i, 0, 0, 0], share * i + (1 - share) * partner[i].float())


def test_cutmix_pastes_one_box_and_labels_follow_its_area():
    image, target = mixed(0.0, 1.0)
    torch.manual_seed(0)
    partner = torch.randperm(N)
    for i in range(N):
        own = image[i] == i
        assert torch.all(own | (image[i] == partner[i]))
        assert torch.equal(own[0], own[1])  # all channels alike
        if TARGET[i] != TARGET[partner[i]]:
            torch.testing.assert_close(target[i, TARGET[i]], own[0].float().mean())
        box = (~own[0]).nonzero()
        if len(box):
            low, high = box.min(0).values, box.max(0).values + 1
            assert (high - low).prod() == len(box)  # a filled rectangle


def test_labels_follow_the_pixels_of_boxes_of_any_size_and_place():
    torch.manual_seed(1)
    for height, width in ((1, 1), (3, 50), (31, 7), (64, 64)):
        boxes = _boxes(torch.rand(200), height, width)
        area = (boxes[1] - boxes[0]) * (boxes[3] - boxes[2])
        outside = 1 - _inside(boxes, height, width).float()
        assert torch.equal((height * width - area) / (height * width), outside.mean((1, 2, 3)))


def test_only_the_draws_are_sent_to_a_gpu():
    image, target = torch.ones(16, 3, 32, 32), torch.zeros(16, dtype=torch.int64)
    sent = []
    with fake_cuda() as counter, pytest.MonkeyPatch.context() as patch:
        real = mixup.to_device
        patch.setattr(mixup, "to_device", lambda draws, device: sent.append(draws.numel()) or real(draws, device))
        image, target = image.to(CUDA), target.to(CUDA)
        counter.copies.clear()
        Mixer(0.4, 1.0, CLASSES)(image, target)
        assert (counter.reads, counter.copies) == ([], [])
    assert sent == [16 * 7]


def test_every_sample_draws_for_itself():
    _, target = mixed(1.0, 0.0)
    shares = target.max(1).values
    assert shares.unique().numel() > N // 2


def test_with_both_on_some_samples_take_one_and_some_the_other():
    image, _ = mixed(1.0, 1.0)
    blended = torch.tensor([bool((image[i] != image[i].round()).any()) for i in range(N)])
    assert 0 < blended.sum() < N


def test_labels_stay_probabilities_and_the_same_seed_gives_the_same_bits():
    image, target = mixed(0.2, 1.0, seed=3)
    torch.testing.assert_close(target.sum(1), torch.ones(N))
    again = mixed(0.2, 1.0, seed=3)
    assert torch.equal(image, again[0])
    assert torch.equal(target, again[1])
    assert not torch.equal(image, mixed(0.2, 1.0, seed=4)[0])


def test_off_is_falsy_and_negative_is_refused():
    assert not Mixer(0.0, 0.0, CLASSES)
    with pytest.raises(UserError, match="mixup_alpha"):
        Mixer(-1.0, 0.0, CLASSES)
