"""Near duplicates: candidates by the low frequencies of all images, verified on aligned thumbnails.

Candidates are pairs whose perceptual descriptors (the 63 values whose signs are the bits of pHash) have a high cosine,
found by matrix products of blocks: 60,000 images in seconds. What looks alike only in its layout, such as two yellow
flowers before green, is ruled out by the fine detail of the thumbnails, after aligning them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lit_cnn.data.quality.thumbnails import SIDE

CANDIDATE = 0.7  # cosine of descriptors
VERIFIED = 0.77  # correlation of the detail of aligned thumbnails; docs/check.md has what it finds and misses
ROUGH = 0.35  # correlation of the detail at half the size, not aligned
# The same two where the shorter side is below so many pixels: CIFAR's photos have 32, MNIST's digits 28.
SMALL = ((32, (0.9, 0.97)), (64, (0.6, 0.85)))
FLAT = 6.0  # standard deviation of grey values: below, only equal files count as duplicates
_BLOCK = 2048
_PAIRS = 2048  # verified at a time
_MOST = 100_000  # pairs that are aligned
_SHIFT = 3  # pixels of a thumbnail
_ZOOMS = (0.95, 0.9)
_BLUR = 9  # pixels of a thumbnail; what is larger is layout, not detail


def descriptors(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the descriptors of thumbnails and of their mirror images, float32 (N, 63) of length 1.

    Args:
        thumbs: uint8 (N, 32, 32); flat ones get a descriptor of zeros, which is like no other.
    """
    side = thumbs.shape[1]
    k, x = np.arange(8)[:, None], np.arange(side)[None]
    basis = np.cos(np.pi * k * (2 * x + 1) / (2 * side)).astype(np.float32)
    low = np.concatenate([basis @ part.astype(np.float32) @ basis.T for part in _parts(thumbs)])
    weight = np.sqrt(np.arange(8)[:, None] ** 2 + np.arange(8)[None] ** 2).astype(np.float32)  # spectra fall as 1/f
    low *= weight
    low[thumbs.reshape(len(thumbs), -1).std(axis=1) < FLAT] = 0
    mirror = low * np.where(np.arange(8) % 2, -1, 1).astype(np.float32)
    return _unit(low), _unit(mirror)


def _parts(thumbs: np.ndarray) -> Iterator[np.ndarray]:
    yield from (thumbs[start : start + _BLOCK] for start in range(0, max(1, len(thumbs)), _BLOCK))


def _unit(low: np.ndarray) -> np.ndarray:
    flat = low.reshape(len(low), -1)[:, 1:]
    unit: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def candidates(thumbs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield pairs that may be duplicates: int64 (P,), int64 (P,), bool (P,): first < second, and mirrored or not."""
    plain, mirror = descriptors(thumbs)
    for start in range(0, len(plain), _BLOCK):
        for begin in range(start, len(plain), _BLOCK):
            for mirrored, other in ((False, plain), (True, mirror)):
                cosine = plain[start : start + _BLOCK] @ other[begin : begin + _BLOCK].T
                first, second = np.nonzero(cosine > CANDIDATE)
                first, second = first + start, second + begin
                keep = first < second
                yield first[keep], second[keep], np.full(int(keep.sum()), mirrored)


def near_duplicates(thumbs: np.ndarray, sides: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of images that show the same photo.

    Args:
        thumbs: uint8 (N, 32, 32), grey.
        sides: int (N,), shorter sides of the images in pixels; None: large. Small ones have little detail, and many of
            them look alike.

    Returns:
        int64 (P, 2), first < second, and float32 (P,), how sure, in [0, 1].
    """
    found, sure = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    if len(thumbs) < 2:
        return found, sure
    sides = np.full(len(thumbs), SMALL[-1][0]) if sides is None else sides
    rough, verified = (np.array([_threshold(side, which) for side in sides]) for which in (0, 1))
    first, second, mirrored = _promising(thumbs, rough)
    pairs, scores = [found], [sure]
    for at in range(0, len(first), _PAIRS):
        part = slice(at, at + _PAIRS)
        other = _turned(thumbs[second[part]], mirrored[part])
        score = aligned_correlation(thumbs[first[part]], other)
        good = score > np.maximum(verified[first[part]], verified[second[part]])
        pairs.append(np.stack([first[part][good], second[part][good]], axis=1))
        scores.append(score[good])
    found, sure = np.concatenate(pairs), np.concatenate(scores)
    order = np.lexsort((-sure, found[:, 1], found[:, 0]))  # a symmetric picture is found mirrored, too
    found, sure = found[order], sure[order]
    once = np.ones(len(found), dtype=bool)
    once[1:] = (found[1:] != found[:-1]).any(axis=1)
    return found[once], sure[once]


def _threshold(side: int, which: int) -> float:
    return next((limits[which] for below, limits in SMALL if side < below), (ROUGH, VERIFIED)[which])


def _promising(thumbs: np.ndarray, rough: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the candidates whose detail agrees roughly without any alignment, which is quick to see.

    At most ``_MOST`` of them, those that agree best: aligning a pair takes as long as hundreds of these comparisons.
    """
    detail = np.concatenate([_rough(part) for part in _parts(thumbs)])
    kept: list[tuple[np.ndarray, ...]] = []
    for first, second, mirrored in candidates(thumbs):
        for at in range(0, len(first), _PAIRS):
            a, b, turned = (each[at : at + _PAIRS] for each in (first, second, mirrored))
            other = _turned(detail[b], turned).astype(np.float32)
            score = np.einsum("pij,pij->p", detail[a].astype(np.float32), other)
            good = score > np.maximum(rough[a], rough[b])
            kept.append((a[good], b[good], turned[good], score[good]))
    if not kept:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool)
    a, b, turned, score = (np.concatenate(column) for column in zip(*kept, strict=True))
    best = np.argsort(-score, kind="stable")[:_MOST]
    return a[best], b[best], turned[best]


def _turned(images: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    turned: np.ndarray = np.where(mirrored[:, None, None], images[:, :, ::-1], images)
    return turned


def _rough(thumbs: np.ndarray) -> np.ndarray:
    """Return detail at half the size, float16 (N, 16, 16) of length 1."""
    detail = _detail(thumbs.astype(np.float32))
    half = detail.reshape(len(detail), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    half -= half.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((half**2).sum(axis=(1, 2), keepdims=True))
    rough: np.ndarray = (half / np.maximum(norm, 1e-3)).astype(np.float16)
    return rough


def aligned_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of fine detail, the best over small shifts and crops of either: float32 (P,).

    Args:
        first: uint8 (P, 32, 32).
        second: uint8 (P, 32, 32).
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    tried = [(a, b)]
    for zoom in _ZOOMS:
        tried += [(_zoomed(a, zoom), b), (a, _zoomed(b, zoom))]
    return np.maximum.reduce([_shifted_correlation(_detail(x), _detail(y)) for x, y in tried])


def _zoomed(images: np.ndarray, share: float) -> np.ndarray:
    """Return the centre, ``share`` of the sides, enlarged bilinearly."""
    side = images.shape[1]
    at = (np.arange(side) + 0.5) * share + (1 - share) * side / 2 - 0.5
    low = np.clip(np.floor(at).astype(int), 0, side - 2)
    weights = np.zeros((side, side), np.float32)
    weights[np.arange(side), low] = 1 - (at - low)
    weights[np.arange(side), low + 1] = at - low
    zoomed: np.ndarray = weights @ images @ weights.T
    return zoomed


def _band(side: int) -> np.ndarray:
    x = np.arange(side)
    weights = (np.abs(x[:, None] - x[None]) <= _BLUR // 2).astype(np.float32)
    band: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return band


_BLURRING = _band(SIDE)


def _detail(images: np.ndarray) -> np.ndarray:
    detail: np.ndarray = images - _BLURRING @ images @ _BLURRING.T
    return detail


def _shifted_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the best correlation of the overlapping parts over shifts of up to ``_SHIFT`` pixels."""
    side = a.shape[1]
    inner = slice(_SHIFT, side - _SHIFT)
    centre = a[:, inner, inner]
    centre = centre - centre.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((centre**2).sum(axis=(1, 2)))
    best = np.full(len(a), -1, np.float32)
    for dy in range(2 * _SHIFT + 1):
        for dx in range(2 * _SHIFT + 1):
            window = b[:, dy : dy + side - 2 * _SHIFT, dx : dx + side - 2 * _SHIFT]
            window = window - window.mean(axis=(1, 2), keepdims=True)
            lengths = np.sqrt((window**2).sum(axis=(1, 2)))
            value = (centre * window).sum(axis=(1, 2)) / np.maximum(norm * lengths, 1e-3)
            best = np.maximum(best, value)
    return best
