"""The data sets of the lessons: they are there, and they are what they say."""

import torch

from checks.data import digits


def test_digits_are_images_and_classes_that_belong_together() -> None:
    # Mistake caught: the column of the classes left among the pixels, or rows cut at another place.
    images, classes = digits()
    assert images.shape == (1797, 64) and images.dtype == torch.float64
    assert classes.shape == (1797,) and classes.dtype == torch.int64
    assert (images.min().item(), images.max().item()) == (0, 16)
    assert torch.bincount(classes).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # Mistake caught: images and classes in different orders. The mean image of a digit knows it.
    means = torch.stack([images[classes == digit].mean(dim=0) for digit in range(10)])
    nearest = torch.cdist(images, means).argmin(dim=1)
    assert (nearest == classes).double().mean() > 0.85


def test_each_call_gives_tensors_of_its_own() -> None:
    # Mistake caught: a learner changes the images in place, and the next call gives the changed.
    images, classes = digits()
    images.zero_()
    classes.zero_()
    assert digits()[0].max() == 16 and digits()[1].max() == 9
