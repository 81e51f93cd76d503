"""The filter's bytes, read by a small interpreter of classic BPF, as the kernel reads them."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox import syscall_filter

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

# From the kernel's headers (asm/unistd_64.h and asm-generic/unistd.h), by hand.
HARMLESS = {
    "x86_64": {"read": 0, "write": 1, "mmap": 9, "brk": 12, "execve": 59, "openat": 257},
    "aarch64": {"read": 63, "write": 64, "mmap": 222, "brk": 214, "execve": 221, "openat": 56},
}
HARMFUL = {
    "x86_64": {"fork": 57, "vfork": 58, "unshare": 272, "mount": 165, "ptrace": 101, "shmget": 29},
    "aarch64": {"unshare": 97, "mount": 40, "ptrace": 117, "shmget": 194, "setns": 268},
}
CLONE = {"x86_64": 56, "aarch64": 220}


def decision(program: bytes, number: int, arch: int, argument: int = 0) -> int:
    """What the filter returns for one call."""
    data = struct.pack("<IIQ", number, arch, 0) + struct.pack("<Q", argument) + bytes(40)
    code = list(struct.iter_unpack("<HBBI", program))
    place, value = 0, 0
    while True:
        kind, true, false, operand = code[place]
        place += 1
        if kind == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif kind == 0x06:
            return operand
        else:
            holds = {
                0x15: value == operand,
                0x35: value >= operand,
                0x45: bool(value & operand),
            }[kind]
            place += true if holds else false


@pytest.mark.parametrize("machine", ARCHITECTURE)
def test_what_python_needs_is_allowed_and_what_gives_rights_is_not(machine):
    program, arch = syscall_filter.build(machine), ARCHITECTURE[machine]
    for name, number in HARMLESS[machine].items():
        assert decision(program, number, arch) == ALLOW, name
    for name, number in HARMFUL[machine].items():
        assert decision(program, number, arch) == EPERM, name


@pytest.mark.parametrize("machine", ARCHITECTURE)
def test_a_thread_may_be_started_and_a_process_may_not(machine):
    program, arch = syscall_filter.build(machine), ARCHITECTURE[machine]
    thread = 0x00010000 | 0x00000100
    assert decision(program, CLONE[machine], arch, thread) == ALLOW
    assert decision(program, CLONE[machine], arch, 17) == EPERM
    assert decision(program, CLONE[machine], arch, 0x10000000) == EPERM
    # The C library then takes `clone`, whose flags can be read.
    assert decision(program, 435, arch) == ENOSYS


@given(number=st.integers(0, 2**32 - 1), argument=st.integers(0, 2**64 - 1))
def test_every_call_has_an_answer_and_another_architecture_ends_the_program(number, argument):
    for machine, arch in ARCHITECTURE.items():
        program = syscall_filter.build(machine)
        found = decision(program, number, arch, argument)
        assert found in (ALLOW, KILL, EPERM, ENOSYS)
        assert decision(program, number, 0x40000003, argument) == KILL
        if machine == "x86_64" and number >= 0x40000000:
            assert found == KILL
