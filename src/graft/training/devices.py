"""The Fabric that a fit runs on."""

from __future__ import annotations

from typing import Any

import torch

from graft.errors import GraftError


def devices(fabric: Any, accelerator: Any) -> Any:
    """The Fabric given, if it can be used, or one on a single device.

    Args:
        fabric: a launched `lightning_fabric.Fabric`, or none.
        accelerator: as Fabric names it, if there is none.

    Raises:
        GraftError: both are given, there is no such accelerator, the fabric is not launched, or its strategy keeps
            no whole copy of the parameters.

    Example:
        >>> devices(None, "cpu").world_size
        1
    """
    from lightning_fabric import Fabric  # as slow to import as torch itself
    from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy

    if fabric is None:
        try:
            return Fabric(accelerator=accelerator, devices=1)
        except (ValueError, TypeError, RuntimeError) as error:
            raise GraftError(f"accelerator {accelerator!r} cannot be used: {error}") from error
    if accelerator != "cpu":
        raise GraftError(f"accelerator {accelerator!r} and a fabric are given: the fabric has its own")
    if not isinstance(fabric, Fabric):
        raise GraftError(f"fabric must be a lightning_fabric.Fabric, not {type(fabric).__name__}")
    if not isinstance(fabric.strategy, DDPStrategy | SingleDeviceStrategy):
        name = type(fabric.strategy).__name__
        raise GraftError(f"fit works on one device or with DDP, which keep all parameters in each process; not {name}")
    if fabric.world_size > 1 and not torch.distributed.is_initialized():
        raise GraftError("a fabric with several processes must be launched first: fabric.launch()")
    return fabric
