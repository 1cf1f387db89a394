import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import ops

from dp2bench.detection.matching import nms


@given(st.integers(0, 40), st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_suppression_is_torchvisions(n, seed, iou):
    random = np.random.default_rng(seed)
    low = random.uniform(0, 20, (n, 2))
    boxes = np.concatenate((low, low + random.uniform(0, 15, (n, 2))), 1).astype(np.float32)
    scores = random.permutation(n).astype(np.float32)
    theirs = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou).numpy()
    assert nms(boxes, scores, iou).tolist() == theirs.tolist()
