"""Runs one program and writes down what it used: `launch.py REPORT PROGRAM ARGUMENT…`.

A process of its own, because Linux counts what a process held before it became the program towards
that program's peak memory (`ru_maxrss` is kept across exec, getrusage(2)). What launches must
therefore be small: run with `-I -S` this is about 10 MiB, and nothing below that can be told apart.
"""

import os
import sys
import time


def main() -> None:
    report, program, *arguments = sys.argv[1:]
    started = time.perf_counter()
    pid = os.posix_spawn(program, [program, *arguments], os.environ)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    with open(report, "w", encoding="ascii") as file:
        print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss, file=file)
    sys.exit(os.waitstatus_to_exitcode(status) and 1)


if __name__ == "__main__":
    main()
