"""Synthetic faces, drawn by the program: CelebA's frame, points and attributes, free of photographs and of people."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ..errors import UserError
from .builder import FaceBuilder
from .celeba import ATTRIBUTES, FRAME, TASKS
from .drawing.face import draw_with
from .shards import Example

# Share of the 202,599 faces that have each attribute, in percent. Source: CelebA's published list_attr_celeba.
FREQUENCIES_PERCENT = dict(
    zip(
        ATTRIBUTES,
        (
            *(11.1, 26.7, 51.3, 20.5, 2.2, 15.2, 24.1, 23.5, 23.9, 14.8, 5.1, 20.5, 14.2, 5.8, 4.7, 6.5, 6.3, 4.2, 38.7, 45.5),
            *(41.7, 48.3, 4.2, 11.5, 83.5, 28.4, 4.3, 27.7, 8.0, 6.6, 5.7, 48.2, 20.8, 32.0, 18.9, 4.9, 47.2, 12.3, 7.3, 77.4),
        ),
        strict=True,
    )
)

# (attribute, the one it depends on, its share where that one is present, attributes that forbid it), in the order of
# sampling. The share where the other is absent follows from the published frequency. The conditional shares are
# rounded guesses at CelebA's; only the table above is published.
_CHAIN = (
    ("Male", None, None, ()),
    ("Young", "Male", 0.63, ()),
    ("Attractive", "Male", 0.28, ()),
    ("Bald", "Male", 0.0527, ()),
    ("Gray_Hair", "Young", 0.002, ("Bald",)),
    ("Blond_Hair", "Male", 0.03, ("Bald", "Gray_Hair")),
    ("Black_Hair", "Male", 0.28, ("Bald", "Gray_Hair", "Blond_Hair")),
    ("Brown_Hair", "Male", 0.19, ("Bald", "Gray_Hair", "Blond_Hair", "Black_Hair")),
    ("Receding_Hairline", "Young", 0.035, ("Bald",)),
    ("Wearing_Hat", "Male", 0.08, ("Bald", "Receding_Hairline")),
    ("Bangs", "Male", 0.07, ("Bald", "Receding_Hairline", "Wearing_Hat")),
    ("Wavy_Hair", "Male", 0.14, ("Bald",)),
    ("Straight_Hair", "Male", 0.25, ("Bald", "Wavy_Hair")),
    ("Wearing_Lipstick", "Male", 0.006, ()),
    ("Heavy_Makeup", "Wearing_Lipstick", 0.80, ()),
    ("Rosy_Cheeks", "Heavy_Makeup", 0.16, ()),
    ("Smiling", "Male", 0.40, ()),
    ("High_Cheekbones", "Smiling", 0.80, ()),
    ("Mouth_Slightly_Open", "Smiling", 0.75, ()),
    ("Chubby", "Male", 0.11, ()),
    ("Double_Chin", "Chubby", 0.45, ()),
    ("Wearing_Necktie", "Male", 0.175, ()),
    ("Wearing_Necklace", "Male", 0.02, ("Wearing_Necktie",)),
    ("Wearing_Earrings", "Male", 0.02, ()),
    ("Arched_Eyebrows", "Male", 0.08, ()),
    ("Bags_Under_Eyes", "Male", 0.35, ()),
    ("Big_Lips", "Male", 0.17, ()),
    ("Big_Nose", "Male", 0.42, ()),
    ("Bushy_Eyebrows", "Male", 0.24, ()),
    ("Eyeglasses", "Male", 0.12, ()),
    ("Oval_Face", "Male", 0.18, ()),
    ("Pale_Skin", "Male", 0.02, ()),
    ("Pointy_Nose", "Male", 0.16, ()),
    ("Blurry", None, None, ()),
    ("Narrow_Eyes", None, None, ()),
)
# Beards grow on men only, and No_Beard is the lack of all four. The shares are those of bearded men (one minus
# No_Beard's), raised so that they hold after faces with none of the four are ruled out.
BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")
_BEARD_ODDS = (0.559, 0.317, 0.212, 0.286)

_SPLITS = (("train", 80), ("validation", 8), ("test", 12))  # percent
_QUALITY = (60, 96)  # of the JPEGs


class Synthetic(FaceBuilder):
    """Drawn faces with CelebA's five points and forty attributes, for tests and demonstrations.

    178 by 218 pixels, aligned as CelebA's faces are. Every attribute shows in the picture, about as often as in
    CelebA; the pictures show nobody. They are cartoons: a network trained on them does not work on photographs.
    """

    tasks = TASKS
    licence = "CC0-1.0"

    def __init__(self, samples: int = 6000, seed: int = 0, **kwargs):
        """Sets how many faces to draw.

        Args:
            samples: faces in all; 80 % train, 8 % validation, 12 % test, at least one in each.
            seed: face `index` of a seed is always the same face.
            **kwargs: of `FaceBuilder`, such as `data_dir`.

        Raises:
            UserError: `samples` is not a whole number of at least 3, or `seed` not one of at least 0.
        """
        self._samples = _whole("samples", samples, 3)
        self._seed = _whole("seed", seed, 0)
        super().__init__(**kwargs)

    def splits(self) -> dict[str, Iterable[Example]]:
        """Examples by split, drawn as they are asked for; names are `synthetic_` and the face's index."""
        sizes = split_sizes(self._samples)
        starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
        return {split: _Faces(self._seed, range(starts[split], starts[split] + size)) for split, size in sizes.items()}


class _Faces:
    """The faces of some indices, drawn when iterated."""

    def __init__(self, seed: int, indices: range):
        self.seed, self.indices = seed, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice) -> "_Faces":
        return _Faces(self.seed, self.indices[part])

    def __iter__(self) -> Iterator[Example]:
        for index in self.indices:
            image, landmarks_px, attributes, quality = _draw(self.seed, index)
            _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            targets = {TASKS[0].name: landmarks_px, TASKS[1].name: attributes}
            yield Example(f"synthetic_{index:06d}", jpeg.tobytes(), FRAME, targets)


def draw_face(seed: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws face `index` of a seed.

    Returns:
        The picture `(218, 178, 3)` uint8 RGB, its points `(5, 2)` float32 in pixels and its attributes `(40,)` int8,
        0 or 1, in the order of `celeba.ATTRIBUTES`.
    """
    return _draw(seed, index)[:3]


def sample_attributes(rng: np.random.Generator) -> np.ndarray:
    """A face's attributes `(40,)` int8, 0 or 1: each about as often as in CelebA, and plausible together."""
    chance = dict(zip(ATTRIBUTES, rng.random(len(ATTRIBUTES)).tolist(), strict=True))
    present = {}
    for name, parent, share, forbidden_by in _CHAIN:
        allowed = not any(present[other] for other in forbidden_by)
        present[name] = allowed and chance[name] < _probability(name, parent, share, forbidden_by, present)
    male_share = FREQUENCIES_PERCENT["Male"] / 100
    bearded_share = (1 - FREQUENCIES_PERCENT["No_Beard"] / 100) / male_share
    present["No_Beard"] = not (present["Male"] and chance["No_Beard"] < bearded_share)
    present |= dict.fromkeys(BEARDS, False)
    if not present["No_Beard"]:
        present |= _sample_beard(chance[BEARDS[0]])
    return np.array([present[name] for name in ATTRIBUTES], dtype=np.int8)


def split_sizes(samples: int) -> dict[str, int]:
    """How many faces each split holds: 80, 8 and 12 % of `samples`, at least one each."""
    sizes = {split: max(1, samples * percent // 100) for split, percent in _SPLITS}
    sizes["train"] += samples - sum(sizes.values())
    return sizes


def _draw(seed: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """`draw_face` and the quality to compress it with."""
    rng = np.random.default_rng([seed, index])
    attributes = sample_attributes(rng)
    quality = int(rng.integers(*_QUALITY))
    return *draw_with(attributes, rng), attributes, quality


def _probability(name, parent, share, forbidden_by, present) -> float:
    """The attribute's probability, given its parent and that nothing forbids it, for which its frequency is as published."""
    # Where something forbids the attribute it is absent, so it must be likelier elsewhere.
    raise_by = 1 / (1 - sum(FREQUENCIES_PERCENT[other] for other in forbidden_by) / 100)
    overall = FREQUENCIES_PERCENT[name] / 100
    if parent is None:
        return overall * raise_by
    parent_share = FREQUENCIES_PERCENT[parent] / 100
    return (share if present[parent] else (overall - parent_share * share) / (1 - parent_share)) * raise_by


def _sample_beard(chance: float) -> dict[str, bool]:
    """One of the 15 non-empty mixtures of the four beards."""
    mixtures = [[bool(code >> k & 1) for k in range(4)] for code in range(1, 16)]
    odds = [np.prod([p if grown else 1 - p for p, grown in zip(_BEARD_ODDS, mixture, strict=True)]) for mixture in mixtures]
    choice = min(int(np.searchsorted(np.cumsum(odds) / sum(odds), chance, side="right")), 14)
    return dict(zip(BEARDS, mixtures[choice], strict=True))


def _whole(name: str, value, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UserError(f"{name}: expected a whole number of at least {least}, got {value!r}; give another one")
    return int(value)
