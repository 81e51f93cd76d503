"""What runs inside the sandbox: one program, then its verdict. Read as text and passed to `-c`.

Standard library alone, and nothing of ours: no file of ours can be seen in there. The
program comes on stdin; the verdict goes to the descriptor named in the first argument. A
program that ends the process early leaves no verdict, which counts as wrong.
"""

import json
import os
import resource
import sys
from typing import Any


def main() -> None:
    """Read the job, set the limits, run the program, and tell how it ended."""
    verdict = int(sys.argv[1])
    job = json.loads(sys.stdin.buffer.read())  # noqa: TID251  our own words, and no engine here
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, limits in job["limits"].items():
        kind = getattr(resource, name, None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(
                kind, tuple(n if hard == resource.RLIM_INFINITY else min(n, hard) for n in limits)
            )
    os.write(verdict, json.dumps(_run(job)).encode())
    # No `atexit`, no thread that is waited for: the verdict stands.
    os._exit(0)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    error = ""
    try:
        # In names of its own, and not as `__main__`: what stands under that name does not run.
        exec(compile(job["program"], "<answer>", "exec"), {})
    except BaseException as found:
        # SystemExit too: a program that leaves has not passed its tests.
        error = type(found).__name__
        try:
            text = str(found)[:200].encode("utf-8", "replace").decode()
            error += f": {text}" if text else ""
        except BaseException:
            pass
    return {"word": job["word"], "error": error}


if __name__ == "__main__":
    main()
