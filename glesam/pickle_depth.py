"""Looks through a pickle for tuples in tuples: unpickling one as a key of a dict takes 2^depth steps."""

from __future__ import annotations

import pickletools
from typing import IO

MOST_DEPTH = 16
"""Deepest tuples in tuples. torch.save writes three."""
MOST_STEPS = 400_000
"""Most instructions of a pickle: about 40 for a tensor, so these are of 10,000."""
_MARK = -1
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def is_deep(pickled: IO[bytes]) -> bool:
    """Returns whether unpickling could take forever; False for what is no pickle: its reader refuses that."""
    stack: list[int] = []  # how deep each object is in tuples; _MARK for a mark
    memo: dict[int, int] = {}
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
            if steps > MOST_STEPS:
                return True
            _follow(stack, memo, opcode, argument)
            if stack and stack[-1] > MOST_DEPTH:
                return True
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
        return False
    return False


def _follow(stack: list[int], memo: dict[int, int], opcode: pickletools.OpcodeInfo, argument: object) -> None:
    """Does to the stack what an unpickler would; of objects it keeps their depth alone."""
    name = opcode.name
    if name in _TUPLES:
        depths = [stack.pop() for _ in range(_TUPLES[name])]
        stack.append(1 + max(depths, default=0))
    elif name == "TUPLE":
        stack.append(1 + max(_to_mark(stack), default=0))
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[int(str(argument))] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[int(str(argument))])
    elif name == "DUP":
        stack.append(stack[-1])
    elif name == "MARK":
        stack.append(_MARK)
    else:
        _other(stack, opcode)


def _other(stack: list[int], opcode: pickletools.OpcodeInfo) -> None:
    before = [each.name for each in opcode.stack_before]
    if "mark" in before:
        _to_mark(stack)
        before = before[: before.index("mark")]
    for _ in before:
        stack.pop()
    stack.extend(0 for _ in opcode.stack_after)


def _to_mark(stack: list[int]) -> list[int]:
    depths = []
    while (depth := stack.pop()) != _MARK:
        depths.append(depth)
    return depths
