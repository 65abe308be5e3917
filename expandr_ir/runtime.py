"""Packages, devices and number types."""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING

from expandr_ir.errors import InputError, NotInstalledError

if TYPE_CHECKING:
    import torch

MEASURE_S = 0.05


def require(package: str, extra: str | None = None) -> ModuleType:
    """The imported package; an error where it is missing says how to install it, or the extra that brings it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if not f"{package}.".startswith(f"{error.name}."):
            raise  # something that the package itself imports
        raise NotInstalledError(f"{error.name} is not installed", remedy=install_command(extra or package)) from error


def install_command(name: str) -> str:
    """The command that installs a package that this distribution requires, or the packages of one of its extras.

    The distribution itself is on no package index, so that `pip install 'expandr-ir[extra]'` finds nothing.
    """
    try:
        stated = metadata.requires("expandr-ir") or []
    except metadata.PackageNotFoundError:
        return f"pip install '.[{name}]' in a checkout of expandr_ir"
    package = name.partition(".")[0].replace("_", "-")
    requirements = [
        requirement.strip()
        for requirement, _, condition in (line.partition(";") for line in stated)
        if re.search(rf"extra == ['\"]{name}['\"]", condition)
        or (not condition and re.match(rf"{package}\b(?!-)", requirement))
    ]
    return " ".join(["pip install", *(f"'{requirement}'" for requirement in requirements or [package])])


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; "auto" is CUDA (under torchrun the process's own GPU), then MPS, then the CPU."""
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None or accelerator.type not in {"cuda", "mps"}:
            return torch.device("cpu")
        is_cuda = accelerator.type == "cuda"
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if is_cuda else accelerator
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r}: {str(error).splitlines()[0]}", expected="auto, cpu, cuda:N or mps"
        ) from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type of a name; "auto" is bfloat16 wherever the device multiplies in it, else float32.

    That is CUDA from Ampere on, MPS, and CPUs with AVX512-BF16, where it halves the memory and measured 13-45 % more
    tokens/s than float32. Elsewhere it is emulated and slow.
    """
    import torch

    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        computes = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "mps":
        computes = torch.backends.mps.is_macos_or_newer(14, 0)
    else:
        computes = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if computes else torch.float32


def pick_threads() -> int:
    """The number of CPU threads with which torch multiplies fastest now: 1, 2, 4, ... or all; OMP_NUM_THREADS is kept.

    Threads wait for each other after every operation: on two cores with other work, two threads measured four times
    slower than one. The measurement takes 50 ms for each number.
    """
    import torch

    most: int = torch.get_num_threads()
    if most == 1 or "OMP_NUM_THREADS" in os.environ:
        return most
    batch, weights = torch.ones(32, 1024), torch.ones(1024, 1024)

    def rate(threads: int) -> float:
        torch.set_num_threads(threads)
        torch.nn.functional.linear(batch, weights)  # starts the threads
        began, calls = time.perf_counter(), 0
        while (seconds := time.perf_counter() - began) < MEASURE_S:
            torch.nn.functional.linear(batch, weights)
            calls += 1
        return calls / seconds

    numbers = [*(1 << power for power in range((most - 1).bit_length())), most]
    try:
        return max(numbers, key=rate)
    finally:
        torch.set_num_threads(most)


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Lets torch compute with a number of CPU threads; None is the fastest now."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or pick_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)
