"""Networks that turn pictures into features for quality scores, and how far two pictures are apart for them."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dp2bench.core.errors import PluginError
from dp2bench.core.types import Image
from dp2bench.networks import efficientnet, mobilenet
from dp2bench.networks.lpips import LPIPSNetwork, vgg_state
from dp2bench.weights.digests import is_rehearsal
from dp2bench.weights.reading import is_torchscript, read_state

BATCH = 32
INCEPTION_SHA256 = "6726825d"
"""First digits of the sha256 of the weights that FID means: torch-fidelity's weights-inception-2015-12-05-6726825d.pth."""
ALEXNET_SHA256 = "7be5be79"
"""First digits of the sha256 of torchvision's alexnet-owt-7be5be79.pth, the backbone of LPIPS (alex)."""
VGG_SHA256 = "397923af"
"""First digits of the sha256 of torchvision's vgg16-397923af.pth, the backbone of LPIPS (vgg)."""

Pictures = NDArray[np.uint8] | NDArray[np.float32]
"""(N, H, W, 3) RGB, 0 to 255."""


def _batches(*pictures: Pictures, device: str) -> Iterator[list[torch.Tensor]]:
    for start in range(0, len(pictures[0]), BATCH):
        yield [
            torch.from_numpy(np.ascontiguousarray(p[start : start + BATCH])).permute(0, 3, 1, 2).to(device)
            for p in pictures
        ]


def checked_weights(path: Path, sha256: str, what: str, source: str) -> str:
    """The sha256 of a local file of weights; PluginError where it is missing or does not begin with ``sha256``."""
    if not path.is_file():
        raise PluginError(
            f"There is no file {path} ({what}).", f"Put {source} there, or leave the argument out."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(sha256) and not is_rehearsal(path):
        raise PluginError(
            f"{path} holds other weights than {what}: its sha256 begins with {digest[:8]}, not {sha256}.",
            f"Use {source}: scores of other weights have no right to the name.",
        )
    return digest


class EfficientNetFeatures:
    """1,280 features of EfficientNet-Lite0 (ImageNet): the declared substitute where Inception's weights are not at hand."""

    name = "efficientnet"

    def __init__(self, device: str = "cpu") -> None:
        self.network, self.device = efficientnet.pretrained(device), device
        self.sha256 = efficientnet.SHA256

    @torch.inference_mode()
    def features(self, pictures: Pictures) -> NDArray[np.float32]:
        """(N, 1280) of N pictures."""
        parts = [self.network(x).float().cpu() for (x,) in _batches(pictures, device=self.device)]
        return torch.cat(parts).numpy() if parts else np.zeros((0, 1280), np.float32)

    @torch.inference_mode()
    def distances(self, clear: Pictures, other: Pictures) -> NDArray[np.float64]:
        """(N,) perceptual distances of pairs: squared differences of the maps at strides 2 to 32, each pixel's channels scaled to
        unit length, averaged over pixels and summed over maps (LPIPS' form without learned weights; Zhang et al., CVPR 2018).
        """
        parts = []
        for a, b in _batches(clear, other, device=self.device):
            total = torch.zeros(len(a), dtype=torch.float64)
            first, second = self.network.maps(a), self.network.maps(b)
            for stride in first:
                x, y = (torch.nn.functional.normalize(m[stride], dim=1, eps=1e-8) for m in (first, second))
                total += ((x - y) ** 2).sum(1).mean((1, 2)).double().cpu()
            parts.append(total)
        return torch.cat(parts).numpy() if parts else np.zeros(0)


class MobileNetFeatures:
    """1,280 features of MobileNetV2 (ImageNet), through which no generator, detector or trainer of this package learned."""

    name = "mobilenet"

    def __init__(self, device: str = "cpu") -> None:
        self.network, self.device = mobilenet.pretrained(device), device
        self.sha256 = mobilenet.digest()

    @torch.inference_mode()
    def features(self, pictures: Pictures) -> NDArray[np.float32]:
        """(N, 1280) of N pictures."""
        parts = [self.network(x).float().cpu() for (x,) in _batches(pictures, device=self.device)]
        return torch.cat(parts).numpy() if parts else np.zeros((0, mobilenet.FEATURES), np.float32)


class InceptionFeatures:
    """2,048 features of torch-fidelity's Inception v3 with the published weights, brought as a local file: FID's and KID's."""

    name = "inception"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.sha256 = checked_weights(
            weights,
            INCEPTION_SHA256,
            "FID's Inception weights",
            "weights-inception-2015-12-05-6726825d.pth from torch-fidelity's releases",
        )
        with tempfile.TemporaryDirectory() as folder:
            clean = Path(folder) / "weights.pth"  # torch-fidelity unpickles: give it tensors only
            torch.save(torch.load(weights, weights_only=True, map_location="cpu"), clean)
            self.network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(clean)
            ).to(device)
        self.device = device

    @torch.inference_mode()
    def features(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 2048) of N pictures of any sizes, those of one size run together: the network resizes them itself, as TensorFlow 1 did."""
        rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, picture in enumerate(pictures):
            rows[picture.shape].append(i)
        features = np.zeros((len(pictures), 2048), np.float32)
        for same in rows.values():
            batches = _batches(np.stack([pictures[i] for i in same]), device=self.device)
            features[same] = torch.cat([self.network(x)[0].float().cpu() for (x,) in batches]).numpy()
        return features


CLIP_MODEL = "ViT-B-32"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
CLIP_SIZE = 224


class CLIPFeatures:
    """512 features of CLIP's ViT-B/32 with weights that are brought as a local file: FID-CLIP's (Kynkäänniemi et al., ICLR 2023).

    As in DeepPrivacy2's code pictures are resized to 224 x 224 bicubically, whatever their aspect; here with antialiasing.
    """

    name = "clip"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self.sha256 = checked_weights(
            weights, "", "FID-CLIP", "CLIP's ViT-B/32: OpenAI's ViT-B-32.pt, or a checkpoint of open_clip"
        )
        try:
            import open_clip
        except ImportError as error:
            raise PluginError(
                "FID-CLIP needs open_clip, which is not installed.",
                "Install it: pip install 'dp2bench[text]'",
            ) from error
        try:
            model = open_clip.create_model(
                CLIP_MODEL, pretrained=str(weights), device=device, force_quick_gelu=is_torchscript(weights)
            )
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            raise PluginError(
                f"{weights} holds no weights of CLIP {CLIP_MODEL}: {' '.join(str(error).split())[:160]}.",
                "Give those of the architecture ViT-B/32.",
            ) from error
        self.network = model.visual.eval()
        self.device = device

    @torch.inference_mode()
    def features(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 512) of N pictures of any sizes."""
        mean, deviation = (
            torch.tensor(v, device=self.device).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_DEVIATION)
        )
        size = (CLIP_SIZE, CLIP_SIZE)
        out = []
        for start in range(0, len(pictures), BATCH):
            some = [
                torch.nn.functional.interpolate(
                    torch.from_numpy(np.ascontiguousarray(p)).to(self.device).permute(2, 0, 1)[None].float()
                    / 255,
                    size,
                    mode="bicubic",
                    antialias=True,
                )
                for p in pictures[start : start + BATCH]
            ]
            out.append(self.network((torch.cat(some) - mean) / deviation).float().cpu())
        return np.asarray(torch.cat(out).numpy(), np.float32)


class LPIPS:
    """LPIPS (v0.1), by the package `lpips` with a backbone, AlexNet, that is brought as a local file; or without the package by the
    weights that `dp2bench weights convert lpips-alexnet` makes (``.safetensors``), for the same digits of the same weights.
    """

    def __init__(self, backbone: Path, device: str = "cpu") -> None:
        self.device = device
        if backbone.suffix == ".safetensors":
            self.sha256 = checked_weights(
                backbone, "", "LPIPS", "weights made by `dp2bench weights convert lpips-alexnet`"
            )
            network = LPIPSNetwork()
            network.load_state_dict(read_state(backbone), strict=True)
            self.network: Any = network.to(device).eval()
            return
        try:
            import lpips
        except ImportError as error:
            raise PluginError(
                "The package lpips is not installed.", "Install it: pip install lpips"
            ) from error
        source = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
        self.sha256 = checked_weights(backbone, ALEXNET_SHA256, "torchvision's AlexNet", source)
        self.network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        layers = dict(self.network.net.named_modules())
        state = torch.load(backbone, weights_only=True, map_location="cpu")
        for name, module in layers.items():  # the package numbers slice and layer: "slice2.3" is layer 3
            _, _, number = name.partition(".")
            if f"features.{number}.weight" in state:
                module.load_state_dict(
                    {k: state[f"features.{number}.{k}"] for k in ("weight", "bias")}, strict=True
                )
        self.network.to(device).eval()

    @torch.inference_mode()
    def distances(self, clear: Pictures, other: Pictures) -> NDArray[np.float64]:
        """(N,) distances of pairs."""
        parts = [
            self.network(a.float() / 127.5 - 1, b.float() / 127.5 - 1).double().cpu().view(-1)
            for a, b in _batches(clear, other, device=self.device)
        ]
        return torch.cat(parts).numpy() if parts else np.zeros(0)


class VGGLPIPS:
    """LPIPS (v0.1) with VGG-16 as torch-fidelity has it, from two local files: torchvision's VGG-16 and torch-fidelity's heads."""

    def __init__(self, backbone: Path, heads: Path, device: str = "cpu") -> None:
        source = "https://download.pytorch.org/models/vgg16-397923af.pth"
        digest = checked_weights(backbone, VGG_SHA256, "torchvision's VGG-16", source)
        other = checked_weights(heads, "", "LPIPS' heads", "torch-fidelity's weights-vgg16-lpips.pth")
        self.sha256 = hashlib.sha256(f"{digest} {other}".encode()).hexdigest()
        network = LPIPSNetwork("vgg")
        network.load_state_dict(vgg_state(backbone, heads), strict=True)
        self.network, self.device = network.to(device).eval(), device

    @torch.inference_mode()
    def distances(self, clear: Pictures, other: Pictures) -> NDArray[np.float64]:
        """(N,) distances of pairs."""
        parts = [
            self.network(a.float() / 127.5 - 1, b.float() / 127.5 - 1).double().cpu()
            for a, b in _batches(clear, other, device=self.device)
        ]
        return torch.cat(parts).numpy() if parts else np.zeros(0)
