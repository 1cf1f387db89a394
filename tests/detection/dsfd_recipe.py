"""Weights and a picture that any program can make again: sines of the elements' numbers, scaled so that signals keep their size."""

import zlib

import numpy as np
import torch


def fill(network):
    """Set every parameter and running statistic of a network from its name."""
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        phase = zlib.crc32(name.encode()) % 1000
        wave = np.sin(np.arange(value.numel(), dtype=np.float64) * 12.9898 + phase) * 43758.5453
        wave = wave - np.floor(wave) - 0.5
        if value.ndim == 4:
            wave *= (12 / value[0].numel()) ** 0.5
            wave *= 0.01 if name == "layer1.0.weight" else 1
        elif name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            wave = 1 + 0.2 * wave
            wave *= 0.3 if "bn3" in name and name.endswith("weight") else 1
        else:
            wave *= 0.1
        value.copy_(torch.from_numpy(wave.reshape(value.shape)))


def picture():
    """(90, 70, 3) uint8."""
    y, x, c = np.mgrid[:90, :70, :3]
    return (127 + 127 * np.sin(x * 0.31 + y * 0.17 + c * 1.3) * np.cos(x * 0.05 * y)).astype(np.uint8)
