"""The system calls that a program in the sandbox does not get, as a filter for the kernel.

A puzzle is solved by one process. So the filter refuses to start another one, which is the
end of fork bombs and of processes left behind, and makes the limit of memory (of one
process) one of the whole program. It refuses what could give rights anew (namespaces,
mounts), what holds memory outside that limit (shared memory, memory files, queues), and
parts of the kernel that have been broken into before. All else is allowed: Python must run.

seccomp(2) takes the filter as classic BPF over `struct seccomp_data`.
"""

from __future__ import annotations

import errno
import platform
import struct

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of a machine; all are little endian."""

# Numbers of x86_64 and aarch64, from the kernel's tables; None where there is no such call.
_REFUSED: dict[str, tuple[int | None, int]] = {
    # New rights.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # Other processes and their memory.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "personality": (135, 92),
    # Memory that outlives or escapes the limit of the address space.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # Parts of the kernel that no puzzle needs.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
}
_FORKS: dict[str, tuple[int | None, int | None]] = {"fork": (57, None), "vfork": (58, None)}
_CLONE = (56, 220)
_CLONE3 = 435
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
"""Calls of the x32 ABI have this bit: other numbers for the same calls."""

_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in `struct seccomp_data`."""

_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _ERROR = 0x80000000, 0x7FFF0000, 0x00050000

Instruction = tuple[int, int, int, int]
"""Code, instructions to skip when true, when false, and the operand."""


def machine_has_filter() -> bool:
    """Whether the system calls of this machine are known here."""
    return platform.machine() in _ARCHITECTURES


def build(machine: str | None = None) -> bytes:
    """The filter of `machine` (default: this one), as `bwrap --seccomp` reads it.

    Raises:
        KeyError: a machine whose system calls are not known (`machine_has_filter`).
    """
    machine = machine or platform.machine()
    column = list(_ARCHITECTURES).index(machine)
    refuse: Instruction = (_RETURN, 0, 0, _ERROR | errno.EPERM)
    # Calls of another architecture have other numbers: nothing below would hold for them.
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [(_GREATER_EQUAL, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for numbers in [*_REFUSED.values(), *_FORKS.values()]:
        number = numbers[column]
        if number is not None:
            program += [(_EQUAL, 0, 1, number), refuse]
    # Its flags lie in memory that a filter cannot read. Without it the C library takes `clone`.
    program += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
    # A thread of the same process is allowed; a new process is not.
    program += [
        (_EQUAL, 0, 3, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        refuse,
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *each) for each in program)
